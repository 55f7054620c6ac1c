"""Which keys call a tower, and whether one asks for no more than its share beside one that asks for more."""

from __future__ import annotations

# What keys ask for is counted in periods of so many seconds, of which this one and the one before count.
_PERIOD = 2.0


class Callers:
    """The keys of the last seconds.

    Args:
        now: seconds of a monotonic clock, as everywhere here.

    Attributes:
        one_is_modest: a key has asked for no more than an equal share of what the tower embedded, and another
            for more: the one could be served as if the other were not there (max-min fairness), but for what
            the tower has begun. It is so until two periods say otherwise: who calls at random asks for more
            now and then.
    """

    def __init__(self, now: float) -> None:
        self.one_is_modest = False
        self._was_modest = False
        self._asked: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._count = 0
        self._embedded = 0
        self._until = now + _PERIOD

    def __len__(self) -> int:
        """Keys that have called."""
        return self._count

    def note(self, key: str, items: int, now: float) -> None:
        """A key asks for so many items, whether it has them or not.

        What no key asks for ("") is not counted: copies for a candidate, which callers must not wait for, and
        all calls where there are no keys.
        """
        if now >= self._until:
            self._next_period(now)
        if not key:
            return
        if key not in self._asked:
            self._count += key not in self._before
        self._asked[key] = self._asked.get(key, 0) + items

    def done(self, items: int) -> None:
        """The tower has embedded so many."""
        self._embedded += items

    def _next_period(self, now: float) -> None:
        asked = self._asked.values()
        several = len(asked) > 1
        modest = several and min(asked) * len(asked) <= self._embedded < max(asked) * len(asked)
        self.one_is_modest = several and (modest or self._was_modest)
        self._was_modest = modest
        self._before, self._asked = self._asked, {}
        self._count = len(self._before)
        self._embedded = 0
        self._until = now + _PERIOD
