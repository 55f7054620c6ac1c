"""How many items a second a tower embeds when it is given all that it can take."""

from __future__ import annotations

import math

# After so many seconds what was measured weighs a third.
_MEMORY = 5.0
# Less than so many seconds tell nothing.
_ENOUGH = 0.25


class Rate:
    """A mean over the last seconds in which the tower was busy; others say only how much was asked for."""

    def __init__(self) -> None:
        self._items = 0.0
        self._seconds = 0.0
        self._since: float | None = None

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
