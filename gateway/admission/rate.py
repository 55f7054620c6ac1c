"""How many items a second a tower embeds when it is given all that it can take."""

from __future__ import annotations

import math

# After so many seconds what was measured weighs a third.
_MEMORY = 5.0
# Less than so many seconds tell nothing.
_ENOUGH = 0.25
# The best is that of this period and the one before, of so many seconds each.
_PERIOD = 30.0


class Rate:
    """A mean over the last seconds in which the tower was busy; others say only how much was asked for.

    Attributes:
        best: the largest of the last minute or half of one. What a tower is given at a time comes of this: of
            the rate itself it would come to less and less, as a tower with less at a time is slower.
    """

    def __init__(self) -> None:
        self.best: float | None = None
        self._items = 0.0
        self._seconds = 0.0
        self._since: float | None = None
        self._period_best = 0.0
        self._until: float | None = None

    @property
    def per_second(self) -> float | None:
        """Items a second; None while the tower was never busy."""
        return self._items / self._seconds if self._seconds >= _ENOUGH else None

    def done(self, items: int, now: float, *, busy: bool) -> None:
        """Items have left the tower at `now`, in seconds of a monotonic clock; `busy` with others."""
        if self._since is not None:
            passed = now - self._since
            kept = math.exp(-passed / _MEMORY)
            self._items = self._items * kept + items
            self._seconds = self._seconds * kept + passed
        self._since = now if busy else None
        if (rate := self.per_second) is not None:
            self._note(rate, now)

    def _note(self, rate: float, now: float) -> None:
        if self._until is None:
            self._until = now + _PERIOD
        if now >= self._until:
            self.best, self._period_best = max(self._period_best, rate), 0.0
            self._until = now + _PERIOD
        self._period_best = max(self._period_best, rate)
        self.best = max(self.best or 0.0, rate)
