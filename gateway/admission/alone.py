"""How long a tower takes for one item while it has nothing else to do."""

from __future__ import annotations

# What a new measurement weighs.
_WEIGHT = 0.1


class TimeAlone:
    """A mean of the last times of items that had a tower for themselves.

    Attributes:
        seconds: that mean; None while no item had the tower for itself.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._since: float | None = None

    def begin(self, count: int, at_tower: int, now: float) -> None:
        """`count` items come to a tower that has `at_tower`, at `now` in seconds of a monotonic clock."""
        self._since = now if count == 1 and at_tower == 0 else None

    def done(self, now: float, *, embedded: bool) -> None:
        """Items have left the tower; a refusal comes sooner than a vector, and tells nothing."""
        if self._since is not None and embedded:
            taken = now - self._since
            self.seconds = taken if self.seconds is None else self.seconds + _WEIGHT * (taken - self.seconds)
        self._since = None
