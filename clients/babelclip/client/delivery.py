"""One message on its way: the answers to it become the embeddings of its items."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from babelclip.client.pace import Pace
from babelclip.client.retry import Patience
from babelclip.client.session import Session
from babelclip.client.splitting import Message
from babelclip.embeddings import Embeddings, Vectors
from babelclip.errors import DeadlineExceeded, RequestRefused
from babelclip.item_errors import DEADLINE_EXCEEDED, OVERLOADED, ItemError, too_many_bytes
from babelclip.wire import Batch, Tower, encode


class Delivery:
    """Sends nothing itself: `body` is what to send, `take` what came back, `result` what is known at the end.

    Items for which the server had no time are sent again, alone, as long as there is patience for it; and no
    more are sent at once than the tower's `pace` allows.
    """

    def __init__(self, tower: Tower, message: Message, pace: Pace, patience: Patience) -> None:
        self._tower = tower
        self._message = message
        self._pace = pace
        self._patience = patience
        self._progress = pace.progress  # when patience began
        self._waiting = list(range(len(message.items)))
        self._sent: list[int] = []
        self._abandoned = False  # whether the tower may be busy with what nobody here waits for any more
        self._postponed = False  # whether the order of items has changed
        self._vectors: Vectors | None = None
        # Of what was answered, by its place in the stretch.
        self._errors: dict[int, ItemError] = {}
        self._truncated: set[int] = set()
        self._unknown: set[int] = set()

    @property
    def count(self) -> int:
        """Items that are still to be sent; 0 when there is nothing to wait for."""
        return len(self._waiting)

    @property
    def sent(self) -> int:
        """Items in the latest `body`."""
        return len(self._sent)

    def body(self, space: str | None) -> bytes:
        """A serialized EmbedRequest of the next of those items."""
        self._sent = self._waiting[: self._pace.items]
        if self._pace.largest is not None:
            self._sent = self._sent[: self._fitting(self._pace.largest)]
        items = (self._message.items[item] for item in self._sent)
        return encode(self._tower, items, space, self._patience.remaining())

    def take(self, batch: Batch) -> float:
        """Enter the answer to `body` → seconds to leave the server alone before the next.

        Items that may succeed later stay to be sent, and their errors stand until then.
        """
        message, sent = self._message, self._sent
        places = [message.indices[item] for item in sent]
        if len(places) == message.count and not self._postponed:
            self._vectors = batch.vectors  # All at once, as nearly always: nothing is copied.
        else:
            if self._vectors is None:
                self._vectors = np.zeros((message.count, batch.vectors.shape[1]), dtype=np.float32)
            self._vectors[places] = batch.vectors
        if self._errors:
            for place in places:
                self._errors.pop(place, None)
        for flagged, rows in ((self._truncated, batch.truncated), (self._unknown, batch.unknown)):
            flagged.difference_update(places)
            flagged.update(places[row] for row in rows)
        self._errors |= {
            places[error.index]: ItemError(places[error.index], error.code, error.message)
            for error in batch.errors
        }
        refused = [sent[error.index] for error in batch.errors if error.code == OVERLOADED]
        done = len(sent) - len(refused)
        self._abandoned = False
        self._pace.answered(len(sent), done, self._patience.spent())
        self._waiting = refused + self._waiting[len(sent) :]
        if done and self._waiting:
            self._renew()
        return self._pause() if refused else 0.0

    def too_large(self, error: RequestRefused) -> None:
        """`body` was more than the server, or a proxy before it, takes at once.

        Its items are sent again in smaller messages, and so is all that follows; an item that is too large by
        itself is given up.
        """
        if len(self._sent) > 1:
            self._pace.too_large(sum(self._size(item) for item in self._sent))
        else:
            self._give_up(self._sent, too_many_bytes(self._tower), str(error))
        self._renew()

    def unanswered(self, error: DeadlineExceeded) -> None:
        """`body` had no answer in time: its items are sent again one by one, or given up.

        Raises:
            DeadlineExceeded: `error`, when the tower seems to be gone and has answered to none of the items.
        """
        if self._pace.unanswered(len(self._sent), self._patience.began):
            if self._vectors is None:
                raise error
            self._give_up(self._waiting, DEADLINE_EXCEEDED, str(error))
        elif len(self._sent) > 1:
            self._abandoned = True
        elif self._abandoned:
            # It may have waited for the tower to be done with the message before: others first.
            self._abandoned = False
            self._postponed = True
            self._waiting = self._waiting[1:] + self._sent
        else:
            self._give_up(self._sent, DEADLINE_EXCEEDED, str(error))
        self._renew()

    def result(self, session: Session) -> Embeddings:
        """The embeddings of the whole stretch, its errors, cut and unknown texts by position."""
        return _embeddings(
            self._message, session, self._vectors, self._errors.values(), self._truncated, self._unknown
        )

    def _size(self, item: int) -> int:
        return len(self._message.items[item])

    def _fitting(self, largest: int) -> int:
        """How many of what is to be sent have so many bytes together, at least one."""
        sizes = itertools.accumulate(self._size(item) for item in self._sent)
        return max(1, sum(1 for size in itertools.takewhile(lambda size: size <= largest, sizes)))

    def _renew(self) -> None:
        self._patience.renew()
        self._progress = self._pace.progress

    def _pause(self) -> float:
        """Seconds until what was refused is sent again; it is given up when patience is at its end."""
        pause = self._patience.pause()
        if pause is None and self._pace.progress != self._progress:
            # Other messages had the tower's time, and are nearer to their end.
            self._renew()
            pause = self._patience.pause()
        if pause is None:
            refusal = next(error for error in self._errors.values() if error.code == OVERLOADED)
            self._give_up(self._waiting, OVERLOADED, refusal.message)
        return pause or 0.0

    def _give_up(self, items: list[int], code: str, why: str) -> None:
        for place in (self._message.indices[item] for item in items):
            self._errors[place] = ItemError(place, code, why)
        self._waiting = self._waiting[len(items) :]


def undelivered(message: Message, session: Session, error: DeadlineExceeded) -> Embeddings:
    """The embeddings of a message that had no answer: each of its items has the error."""
    lost = (ItemError(place, DEADLINE_EXCEEDED, str(error)) for place in message.indices)
    return _embeddings(message, session, None, lost, (), ())


def _embeddings(
    message: Message,
    session: Session,
    vectors: Vectors | None,
    errors: Iterable[ItemError],
    truncated: Iterable[int],
    unknown: Iterable[int],
) -> Embeddings:
    if vectors is None:
        vectors = np.zeros((message.count, session.dim), dtype=np.float32)
    return Embeddings(
        vectors=vectors,
        space=session.space or "",
        logit_scale=session.logit_scale,
        errors=tuple(sorted((*message.failed, *errors), key=lambda error: error.index)),
        truncated=tuple(sorted(truncated)),
        version=session.version or "",
        unknown=tuple(sorted(unknown)),
    )
