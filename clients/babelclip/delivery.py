"""One message on its way: the answers to it become the embeddings of its items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from babelclip.embeddings import Embeddings, Vectors
from babelclip.errors import ItemError
from babelclip.session import Session
from babelclip.wire import Batch, Message, Tower, encode


@dataclass(frozen=True)
class _Outcome:
    vector: Vectors
    error: ItemError | None
    truncated: bool


class Delivery:
    """Sends nothing itself: `body` is what to send, `take` what came back, `result` what is known at the end.

    Items for which the server had no time are sent again, alone, as long as there is patience for it.
    """

    def __init__(self, tower: Tower, message: Message) -> None:
        self._tower = tower
        self._message = message
        self._waiting = list(range(len(message.items)))
        self._outcomes: dict[int, _Outcome] = {}

    @property
    def count(self) -> int:
        """Items to send; 0 when there is nothing to wait for."""
        return len(self._waiting)

    def body(self, space: str | None) -> bytes:
        """A serialized EmbedRequest of those items."""
        return encode(self._tower, (self._message.items[item] for item in self._waiting), space)

    def take(self, batch: Batch) -> None:
        """Enter the answer to `body`; items that may succeed later stay to be sent, and their errors stand
        until then."""
        errors = {error.index: error for error in batch.errors}
        cut = set(batch.truncated)
        later = []
        for row, item in enumerate(self._waiting):
            error = errors.get(row)
            self._outcomes[item] = _Outcome(batch.vectors[row], error, row in cut)
            if error is not None and error.retryable:
                later.append(item)
        self._waiting = later

    def result(self, session: Session) -> Embeddings:
        """The embeddings of the whole stretch, its errors and cut texts by position."""
        message = self._message
        vectors = np.zeros((message.count, session.dim), dtype=np.float32)
        errors = list(message.failed)
        truncated = []
        for item, outcome in self._outcomes.items():
            index = message.indices[item]
            vectors[index] = outcome.vector
            if outcome.error is not None:
                errors.append(ItemError(index, outcome.error.code, outcome.error.message))
            if outcome.truncated:
                truncated.append(index)
        return Embeddings(
            vectors=vectors,
            space=session.space or "",
            logit_scale=session.logit_scale,
            errors=tuple(sorted(errors, key=lambda error: error.index)),
            truncated=tuple(sorted(truncated)),
            version=session.version or "",
        )
