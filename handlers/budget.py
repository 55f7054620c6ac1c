"""How long a batch may take.

TorchServe kills a worker that has not answered within `responseTimeout`, and every request of its batch gets
500. So a batch that would take too long ends early, and the items it did not reach are told to come back.
"""

from __future__ import annotations

from collections.abc import Callable

from handlers.errors import OVERLOADED, ItemFault

# What is left of responseTimeout when the budget is spent (24 of 60 seconds) is for what cannot be broken
# off: an image or a window of texts that is being prepared, a pass that takes longer than the last one did or
# fails and is repeated item by item, and the encoding and sending of the answers.
_SHARE = 0.6


class OutOfTime(Exception):
    """The batch must end here."""


class Budget:
    """The time of one batch after the other, of one worker."""

    def __init__(self, response_timeout: float, clock: Callable[[], float]) -> None:
        """Both in seconds; `clock` is one that only ever goes forward."""
        self.seconds = _SHARE * response_timeout
        self._clock = clock
        self._began = clock()
        self._took: dict[int, float] = {}

    def restart(self) -> None:
        """A new batch begins."""
        self._began = self._clock()

    def left(self) -> float:
        """Seconds, 0 when none are left."""
        return max(0.0, self.seconds - (self._clock() - self._began))

    def check(self, slots: int = 0) -> None:
        """Before a pass of so many slots, or before the preparation of one.

        Raises:
            OutOfTime: the pass would not end in time, if it took as long as the last one of about its size.
        """
        # A size that has not been met counts as slow as the slowest. No estimate exceeds half of the budget:
        # else one pass that was slow by accident would have all later ones refused and never be corrected.
        expected = self._took.get(slots.bit_length(), max(self._took.values(), default=0.0)) if slots else 0.0
        if self.left() <= min(expected, self.seconds / 2):
            raise OutOfTime

    def took(self, slots: int, seconds: float) -> None:
        """A pass of so many slots took so long."""
        self._took[slots.bit_length()] = seconds

    def fault(self) -> ItemFault:
        """What the items are told that the batch did not reach."""
        return ItemFault(
            OVERLOADED,
            f"the {self.seconds:.0f} seconds of a batch were over before this item's turn; "
            "send fewer items at once, or send it again later",
        )
