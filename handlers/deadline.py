"""How long a batch may take.

TorchServe kills a worker that has not answered within `responseTimeout`, and every request of its batch gets
500. So a batch that would take too long ends early, and the items it did not reach are refused as
`overloaded`, to be sent again.

A caller may give up before that: TorchServe computes for it nevertheless, and the result is lost. A request
that says how long its caller waits (`timeout_ms`) ends its batch in time for that, too.
"""

from __future__ import annotations

from collections.abc import Callable

from handlers.errors import OVERLOADED, ItemError

# What is left of responseTimeout at the deadline (24 of 60 seconds) is for what cannot be interrupted: an
# image or a window of texts that is being prepared, a pass that takes longer than the last one did or fails
# and is repeated item by item, and the encoding and sending of the responses.
_SHARE = 0.6
# The share of its caller's timeout that a request may take here. The caller's clock has run since it sent the
# request, which may have waited for a whole batch of requests like itself.
_CALLERS_SHARE = 0.4
# Where callers wait, no pass takes more than this share of their time, so that a slow tower gets something
# done.
_LARGEST_PASS = 1 / 3


class DeadlineExceeded(Exception):
    """The batch must end here."""


class Deadline:
    """The time that each batch of a worker has, one batch after the other."""

    def __init__(self, response_timeout: float, clock: Callable[[], float]) -> None:
        """Both in seconds; `clock` is one that only ever goes forward."""
        self.seconds = _SHARE * response_timeout
        self._clock = clock
        self._began = clock()
        self._callers: float | None = None
        self._passes = 0
        self._took: dict[int, float] = {}

    def restart(self) -> None:
        """A new batch begins."""
        self._began = self._clock()
        self._callers = None
        self._passes = 0

    def callers_wait(self, seconds: float | None) -> None:
        """From now on the batch is for callers who wait at most so long; None: all of the worker's."""
        self._callers = None if seconds is None else min(_CALLERS_SHARE * seconds, self.seconds)

    def left(self) -> float:
        """Seconds of the worker's time, 0 when none are left."""
        return max(0.0, self.seconds - self._elapsed())

    def left_before(self, slots: int) -> float:
        """Seconds in which more may be prepared, before a pass of so many slots must begin."""
        if self._callers is None:
            return self.left()
        # Twice what the pass should take: what has been prepared by then should not be lost.
        reserve = 2 * min(self._expected(slots), _LARGEST_PASS * self._callers) if self._took else 0.0
        return max(0.0, min(self.left(), self._callers - self._elapsed() - reserve))

    def check(self, slots: int = 0) -> None:
        """Before a pass of so many slots, or before the preparation of one.

        The first pass of a batch is begun however little time the callers have, so that each batch gets
        something done.

        Raises:
            DeadlineExceeded: the pass would not end in time, if it took as long as the last one of about its
                size.
        """
        # A size that has not been met counts as slow as the slowest. No estimate exceeds half of the time:
        # else one pass that was slow by accident would have all later ones refused, and never be corrected.
        expected = self._took.get(slots.bit_length(), max(self._took.values(), default=0.0)) if slots else 0.0
        if self.left() <= min(expected, self.seconds / 2):
            raise DeadlineExceeded
        if self._callers is not None and self._passes:
            expected = min(self._expected(slots), _LARGEST_PASS * self._callers) if slots else 0.0
            if self._callers - self._elapsed() <= expected:
                raise DeadlineExceeded

    def largest(self, rows: int, slots: Callable[[int], int]) -> int:
        """Of so many rows that are ready, those that should go through the tower in one pass.

        All, unless callers wait and the pass would take too much of their time. `slots` says how many slots
        are computed for so many rows.
        """
        if self._callers is not None:
            while rows > 1 and self._expected(slots(rows)) > _LARGEST_PASS * self._callers:
                rows = 1 << ((rows - 1).bit_length() - 1)
        return rows

    def record(self, slots: int, seconds: float) -> None:
        """A pass of so many slots took so many seconds."""
        self._passes += 1
        self._took[slots.bit_length()] = seconds

    def error(self) -> ItemError:
        """The error of items that the batch did not reach."""
        if self._callers is None:
            seconds, whose = self.seconds, "of a batch"
        else:
            seconds, whose = self._callers, "that a batch has for callers who wait no longer"
        return ItemError(
            OVERLOADED,
            f"the {seconds:.3g} seconds {whose} were over before this item's turn; "
            "send fewer items at once, or send it again later",
        )

    def _elapsed(self) -> float:
        return self._clock() - self._began

    def _expected(self, slots: int) -> float:
        """Seconds that a pass should take at most: as long as a larger one, or one of half the size twice."""
        size = slots.bit_length()
        return min(
            (seconds * 2.0 ** max(0, size - met) for met, seconds in self._took.items()), default=float("inf")
        )
