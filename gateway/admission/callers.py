"""Which keys call a tower, and which ask for no more than their share beside one that asks for more."""

from __future__ import annotations

# What keys ask for is counted in periods of so many seconds, of which this one and the one before count.
_PERIOD = 2.0


class Callers:
    """The keys of the last seconds.

    Args:
        now: seconds of a monotonic clock, as everywhere here.

    Attributes:
        modest: keys that have asked for no more than an equal share of what the tower embedded, beside one
            that has asked for more: they could be served as if it were not there (max-min fairness), but for
            what the tower has begun. Modest until two periods say otherwise: who calls at random asks for
            more now and then.
    """

    def __init__(self, now: float) -> None:
        self.modest: frozenset[str] = frozenset()
        self._were_modest: frozenset[str] = frozenset()
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

        Where no key is asked for, all calls have the same (""), and there is nobody to be fair to.
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
        share = self._embedded / max(1, len(self._asked))
        modest = frozenset(key for key, items in self._asked.items() if items <= share)
        if len(modest) == len(self._asked):  # Nobody asks for more.
            modest = frozenset()
        several = len(self._asked) > 1
        self.modest = modest | self._were_modest if several else frozenset()
        self._were_modest = modest
        self._before, self._asked = self._asked, {}
        self._count = len(self._before)
        self._embedded = 0
        self._until = now + _PERIOD
