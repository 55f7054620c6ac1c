"""One chunk on its way: the answers to it become the embeddings of its items."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from babelclip.client.pace import Pace
from babelclip.client.retry import RetryState
from babelclip.client.session import Session
from babelclip.client.splitting import RequestChunk
from babelclip.embeddings import Embeddings, Vectors
from babelclip.errors import DeadlineExceeded, RequestRefused
from babelclip.item_errors import DEADLINE_EXCEEDED, OVERLOADED, ItemError, too_many_bytes
from babelclip.wire import EmbedResult, Tower, encode


class PendingChunk:
    """Sends nothing itself: `body` is what to send, `receive` takes the answer, `result` is what is known.

    Items for which the server had no time are sent again, alone, as long as `retry` allows; and no more are
    sent at once than the tower's `pace` allows.
    """

    def __init__(self, tower: Tower, chunk: RequestChunk, pace: Pace, retry: RetryState) -> None:
        self._tower = tower
        self._chunk = chunk
        self._pace = pace
        self._retry = retry
        self._progress = pace.progress  # when `retry` was last reset
        self._waiting = list(range(len(chunk.items)))
        self._sent: list[int] = []
        self._abandoned = False  # whether the tower may be busy with what nobody here waits for any more
        self._postponed = False  # whether the order of items has changed
        self._vectors: Vectors | None = None
        # Of what was answered, by its position in the chunk.
        self._errors: dict[int, ItemError] = {}
        self._truncated: set[int] = set()
        self._unknown: set[int] = set()
        self._tokens: list[int] = []

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
        items = [self._chunk.items[item] for item in self._sent]
        return encode(self._tower, items, space, self._retry.remaining(), self._chunk.language)

    def receive(self, answer: EmbedResult) -> float:
        """Enter the answer to `body` → seconds to leave the server alone before the next.

        Items that may succeed later stay to be sent, and their errors stand until then.
        """
        chunk, sent = self._chunk, self._sent
        positions = [chunk.indices[item] for item in sent]
        if len(positions) == chunk.count and not self._postponed:
            self._vectors = answer.vectors  # All at once, as nearly always: nothing is copied.
        else:
            if self._vectors is None:
                self._vectors = np.zeros((chunk.count, answer.vectors.shape[1]), dtype=np.float32)
            self._vectors[positions] = answer.vectors
        for position in positions if self._errors else ():
            self._errors.pop(position, None)
        for flagged, rows in ((self._truncated, answer.truncated), (self._unknown, answer.unknown)):
            flagged.difference_update(positions)
            flagged.update(positions[row] for row in rows)
        if answer.tokens:
            self._tokens = self._tokens or [0] * chunk.count
            for position, tokens in zip(positions, answer.tokens, strict=True):
                self._tokens[position] = tokens
        for error in answer.errors:
            position = positions[error.index]
            self._errors[position] = ItemError(position, error.code, error.message)
        refused = [sent[error.index] for error in answer.errors if error.code == OVERLOADED]
        done = len(sent) - len(refused)
        self._abandoned = False
        self._pace.answered(len(sent), done, self._retry.elapsed())
        self._waiting = refused + self._waiting[len(sent) :]
        if done and self._waiting:
            self._reset_retry()
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
        self._reset_retry()

    def timed_out(self, error: DeadlineExceeded) -> None:
        """`body` had no answer in time: its items are sent again one by one, or given up.

        Raises:
            DeadlineExceeded: `error`, when the tower seems to be gone and has answered to none of the items.
        """
        if self._pace.timed_out(len(self._sent), self._retry.began):
            if self._vectors is None:
                raise error
            self._give_up(self._waiting, DEADLINE_EXCEEDED, str(error))
        elif len(self._sent) > 1:
            self._abandoned = True
        elif self._abandoned:
            # It may have waited for the tower to be done with the request before: others first.
            self._abandoned = False
            self._postponed = True
            self._waiting = self._waiting[1:] + self._sent
        else:
            self._give_up(self._sent, DEADLINE_EXCEEDED, str(error))
        self._reset_retry()

    def result(self, session: Session) -> Embeddings:
        """The embeddings of the whole chunk; its errors, cut and unknown texts by position."""
        return _embeddings(
            self._chunk,
            session,
            self._vectors,
            self._errors.values(),
            self._truncated,
            self._unknown,
            self._tokens,
        )

    def _size(self, item: int) -> int:
        return len(self._chunk.items[item])

    def _fitting(self, largest: int) -> int:
        """How many of what is to be sent have so many bytes together, at least one."""
        sizes = itertools.accumulate(self._size(item) for item in self._sent)
        return max(1, sum(1 for size in itertools.takewhile(lambda size: size <= largest, sizes)))

    def _reset_retry(self) -> None:
        self._retry.reset()
        self._progress = self._pace.progress

    def _pause(self) -> float:
        """Seconds until what was refused is sent again; it is given up when no attempt is left."""
        pause = self._retry.pause()
        if pause is None and self._pace.progress != self._progress:
            # Other chunks had the tower's time, and are nearer to their end.
            self._reset_retry()
            pause = self._retry.pause()
        if pause is None:
            refusal = next(error for error in self._errors.values() if error.code == OVERLOADED)
            self._give_up(self._waiting, OVERLOADED, refusal.message)
        return pause or 0.0

    def _give_up(self, items: list[int], code: str, why: str) -> None:
        for position in (self._chunk.indices[item] for item in items):
            self._errors[position] = ItemError(position, code, why)
        self._waiting = self._waiting[len(items) :]


def unanswered(chunk: RequestChunk, session: Session, error: DeadlineExceeded) -> Embeddings:
    """The embeddings of a chunk that had no answer: each of its items has the error."""
    lost = (ItemError(position, DEADLINE_EXCEEDED, str(error)) for position in chunk.indices)
    return _embeddings(chunk, session, None, lost, (), ())


def _embeddings(
    chunk: RequestChunk,
    session: Session,
    vectors: Vectors | None,
    errors: Iterable[ItemError],
    truncated: Iterable[int],
    unknown: Iterable[int],
    tokens: Iterable[int] = (),
) -> Embeddings:
    if vectors is None:
        vectors = np.zeros((chunk.count, session.dim), dtype=np.float32)
    return Embeddings(
        vectors=vectors,
        space=session.space or "",
        logit_scale=session.logit_scale,
        errors=tuple(sorted((*chunk.failed, *errors), key=lambda error: error.index)),
        truncated=tuple(sorted(truncated)),
        version=session.version or "",
        unknown=tuple(sorted(unknown)),
        tokens=tuple(tokens),
    )
