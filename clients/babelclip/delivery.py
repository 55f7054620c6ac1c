"""One message on its way: the answers to it become the embeddings of its items."""

from __future__ import annotations

import numpy as np

from babelclip.embeddings import Embeddings, Vectors
from babelclip.errors import ItemError
from babelclip.session import Session
from babelclip.wire import Batch, Message, Tower, encode


class Delivery:
    """Sends nothing itself: `body` is what to send, `take` what came back, `result` what is known at the end.

    Items for which the server had no time are sent again, alone, as long as there is patience for it.
    """

    def __init__(self, tower: Tower, message: Message) -> None:
        self._tower = tower
        self._message = message
        self._waiting = list(range(len(message.items)))
        self._vectors: Vectors | None = None
        # Of what was answered, by its place in the stretch.
        self._errors: dict[int, ItemError] = {}
        self._truncated: set[int] = set()

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
        message, sent = self._message, self._waiting
        places = [message.indices[item] for item in sent]
        if len(places) == message.count:
            self._vectors = batch.vectors  # All at once, as nearly always: nothing is copied.
        else:
            if self._vectors is None:
                self._vectors = np.zeros((message.count, batch.vectors.shape[1]), dtype=np.float32)
            self._vectors[places] = batch.vectors
        self._errors = {place: error for place, error in self._errors.items() if not error.retryable}
        self._truncated.difference_update(places)
        self._truncated.update(places[row] for row in batch.truncated)
        self._errors |= {
            places[error.index]: ItemError(places[error.index], error.code, error.message)
            for error in batch.errors
        }
        self._waiting = [sent[error.index] for error in batch.errors if error.retryable]

    def result(self, session: Session) -> Embeddings:
        """The embeddings of the whole stretch, its errors and cut texts by position."""
        vectors = self._vectors
        if vectors is None:
            vectors = np.zeros((self._message.count, session.dim), dtype=np.float32)
        errors = (*self._message.failed, *self._errors.values())
        return Embeddings(
            vectors=vectors,
            space=session.space or "",
            logit_scale=session.logit_scale,
            errors=tuple(sorted(errors, key=lambda error: error.index)),
            truncated=tuple(sorted(self._truncated)),
            version=session.version or "",
        )
