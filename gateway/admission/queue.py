"""Who is next at a tower: so many items are there at a time, and the others wait here, where turns are fair.

Of the keys that wait, the one that has had least since it began to wait is next (start-time fair queueing:
P. Goyal, H. Vin and H. Cheng, 1996). A key's requests have their turns round robin, piece by piece, so that a
small one passes a large one.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from gateway.admission.alone import TimeAlone
from gateway.admission.callers import Callers
from gateway.admission.rate import Rate
from gateway.admission.spare import SpareTurns
from gateway.admission.waiting import PIECE, Waiting
from gateway.errors import OVERLOADED, ApiError

# A tower that is fast has more items at a time than it must: as many as it embeds in this time.
_FAST_SECONDS = 0.05
# TorchServe's queue of a tower holds 200 requests, and more than one gateway may fill it.
_MOST = 192
# A tower that is slow has fewer: what it has is what the next caller must wait for, whoever that is.
# With half of it its batches are so small that it embeds less.
_SLOW_SECONDS = 1.0
# Fewer still where several keys call. So many until the tower's rate and its time for one item are known, and
# from so many on it is busy enough to tell its rate.
_SHARED = 16
# Then so many times what it has under way at full rate without a queue (rate × time for one item, the
# "bandwidth-delay product" of which BBR, 2016, keeps twice in flight): what is computed, and what is next.
_IN_FLIGHT = 2
# Barely more than what is computed where a key asks for more than its share beside one that asks for less: no
# batch of its takes much longer then than an item alone, and the modest key waits for one such batch at most.
# That one's own items may be in batches as always.
_IN_FLIGHT_BESIDE_MODEST = 1.25
# But not while nothing comes back: a version that hangs would have all that the tower may have, and calls for
# the others would wait for it. So many times the time of one item, and so many seconds at least.
_HANGS, _HANGS_SECONDS = 4, 1.0
# A key that waits for nothing may have so many items before others: who asks for less than its share rarely
# asks in equal intervals. With 4 the p99 of one that calls at random was three times what it is alone.
_BURST = 16
# A tower's items and those that are before a new one are at most so many times what it may have.
_QUEUE = 1.75
_RETRY_AFTER_MOST = 60


class TowerQueue:
    """The turns at one tower. Used within one event loop.

    Args:
        at_once: items that the tower is given at a time, at most unless it is fast.
        max_wait: seconds for which a request may wait at least, however short the queue is meant to be.
        clock: seconds that never go back.

    Attributes:
        at_tower: items that the tower has.
        waiting: items that wait for their turn.
        spare: the turns of what no caller waits for, which counts in neither.
    """

    def __init__(
        self, at_once: int, max_wait: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._at_once = at_once
        self._max_wait = max_wait
        self._clock = clock
        self._rate = Rate()
        self._alone = TimeAlone()
        self.at_tower = 0
        # When the tower last gave something back, or had something again after it had nothing.
        self._heard = clock()
        self.waiting = 0
        self._requests: dict[str, deque[Waiting]] = {}
        # The fair order counts items; it has come so far.
        self._passed = 0
        # Where in it the next piece of each key that waits begins, and where each key that waited has ended.
        self._next: dict[str, int] = {}
        self._end: dict[str, int] = {}
        self._callers = Callers(clock())
        self.spare = SpareTurns(self._room)

    def pass_at_once(self, key: str, count: int) -> bool:
        """Whether `count` items, at most a piece, need not wait: then they are at the tower until `done`.

        If they must, nothing has changed, and `enter` is next.
        """
        if self._requests or self.at_tower >= self._limit(key):
            return False
        self._callers.note(key, count, self._clock())
        self._take(count)
        return True

    def enter(self, key: str, count: int, seconds: float | None, begin: Callable[[int], None]) -> Waiting:
        """Wait for the turns of a request; the first may come before this returns.

        Args:
            seconds: that the caller waits for all of it; None for as long as it takes.
            begin: as `Waiting` has it. Whoever it begins something for calls `done` at its end.

        Raises:
            ApiError: it would wait too long.
        """
        self._callers.note(key, count, self._clock())
        self._pass_on()  # Who is modest, or that the tower hangs, may have become known now.
        if self._requests or self.at_tower >= self._limit(key):
            self._check(key, count, seconds)
        request = Waiting(key, count, begin)
        if key not in self._requests:
            self._requests[key] = deque()
            self._next[key] = max(self._passed - _BURST, self._end.pop(key, 0))
        self._requests[key].append(request)
        self.waiting += count
        self._pass_on()
        return request

    def leave(self, request: Waiting) -> None:
        """A request gives up what it still waits for; it may wait for nothing any more."""
        requests = self._requests.get(request.key, deque())
        if request in requests:
            requests.remove(request)
            self.waiting -= request.left
            self._drop_if_empty(request.key)

    def done(self, count: int, *, embedded: bool = True) -> None:
        """Items are at the tower no more, with their vectors or without."""
        self.at_tower -= count
        now = self._heard = self._clock()
        self._rate.done(count, now, busy=bool(self._requests) or self.at_tower >= _SHARED)
        self._alone.done(now, embedded=embedded)
        self._callers.done(count)
        self._pass_on()

    def _pass_on(self) -> None:
        while (key := self._whose_turn()) is not None:
            limit = self._limit(key)
            requests = self._requests[key]
            request = requests[0]
            size = min(PIECE, limit, request.left)
            self._passed = max(self._passed, self._next[key])
            self._next[key] += size
            request.left -= size
            requests.popleft()
            if request.left:
                requests.append(request)
            self._drop_if_empty(key)
            self.waiting -= size
            self._take(size)
            request.begin(size)
        self.spare.begin_next()

    def _room(self) -> int:
        return 0 if self._requests else max(0, self._limit("") - self.at_tower)

    def _whose_turn(self) -> str | None:
        """The key that has had least of those that wait and for which the tower has room."""
        room = (key for key in self._next if self.at_tower < self._limit(key))
        return min(room, key=self._next.__getitem__, default=None)

    def _take(self, count: int) -> None:
        now = self._clock()
        if self.at_tower == 0:
            self._heard = now
        self._alone.begin(count, self.at_tower + self.spare.at_tower, now)
        self.at_tower += count

    def _drop_if_empty(self, key: str) -> None:
        if not self._requests[key]:
            del self._requests[key]
            self._end[key] = self._next.pop(key)
            if not self._requests:  # Whoever comes next is before or behind nobody.
                self._end.clear()
                self._passed = 0

    def _limit(self, key: str) -> int:
        """Items that the tower has at a time when this key's next come, while as many keys call as do now."""
        rate, alone = self._rate.per_second, self._alone.seconds
        several = len(self._callers) > 1
        if self._callers.modest and key not in self._callers.modest and not self._hangs():
            # An item at a time tells how long one takes, where that is not known.
            return max(1, min(int(_IN_FLIGHT_BESIDE_MODEST * (rate or 0.0) * (alone or 0.0)), _MOST))
        if several and (rate is None or alone is None):
            wanted = max(_SHARED, self._at_once // len(self._callers))
        elif rate is None:
            wanted = self._at_once
        else:
            # That of one item is not known yet where only large requests have come.
            wanted = max(_IN_FLIGHT, round(_IN_FLIGHT * rate * (alone or 0.0)))
            if not several:
                wanted = max(wanted, int((self._rate.best or rate) * _SLOW_SECONDS))
        return max(min(wanted, self._at_once), self._fast())

    def _hangs(self) -> bool:
        longest = max(_HANGS_SECONDS, _HANGS * (self._alone.seconds or 0.0))
        return self.at_tower > 0 and self._clock() - self._heard > longest

    def _fast(self) -> int:
        """Items that a fast tower has at a time, even if `at_once` is less."""
        rate = self._rate.per_second
        return 0 if rate is None else min(int(rate * _FAST_SECONDS), _MOST)

    def _check(self, key: str, count: int, seconds: float | None) -> None:
        rate = self._rate.per_second
        before = self._ahead(key, min(count, PIECE), PIECE)
        allowed = max(_QUEUE * max(self._at_once, self._fast()), self._max_wait * (rate or 0.0))
        if self.at_tower + before > allowed:
            raise _overloaded("the model has more to do than it can in time", self.at_tower + before, rate)
        if seconds is not None and rate is not None:
            items = self.at_tower + self._ahead(key, count, count) + count
            if items / rate > seconds:
                why = f"the model would need {items / rate:.1f} s, and the caller waits {seconds:.1f} s"
                raise _overloaded(why, items, rate)

    def _ahead(self, key: str, count: int, each: int) -> int:
        """Items that have their turn before `count` of a new request: `each` of the key's other requests.

        Until then other keys have no more turns than this one.
        """
        own = sum(min(request.left, each) for request in self._requests.get(key, ()))
        share = own + count
        others = 0
        for other, requests in self._requests.items():
            if other != key:
                had = 0
                for request in requests:
                    had += request.left
                    if had >= share:
                        break
                others += min(had, share)
        return own + others


def _overloaded(why: str, items: float, rate: float | None) -> ApiError:
    seconds = 1 if not rate else min(max(1, math.ceil(items / rate)), _RETRY_AFTER_MOST)
    return ApiError(429, OVERLOADED, f"{why}; try again in {seconds} s", retry_after=seconds)
