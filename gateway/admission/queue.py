"""Who is next at a tower: so many items are there at a time, and the others wait here, where turns are fair.

Keys have their turns round robin, by items (deficit round robin: M. Shreedhar and G. Varghese, 1996). A key's
requests have theirs the same way, piece by piece, so that a small one passes a large one.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from gateway.admission.rate import Rate
from gateway.errors import OVERLOADED, ApiError

PIECE = 32
"""Items of a request that are passed on together; a batch of the handlers."""
# Where several keys call, a tower has fewer items: what one has passed on is what the next must wait for.
_SHARED = 16
# A tower that is fast has more items at a time than it must: as many as it embeds in this time.
_SECONDS = 0.05
# TorchServe's queue of a tower holds 200 requests, and more than one gateway may fill it.
_MOST = 192
# So much of what the tower has may wait for its turn.
_WAITING = 0.75
_RETRY_AFTER_MOST = 60


class Waiting:
    """A request of `count` items that waits for its turns.

    Args:
        begin: called with the number of items of each piece when it is its turn.
    """

    def __init__(self, key: str, count: int, begin: Callable[[int], None]) -> None:
        self.key = key
        self.left = count
        self.begin = begin


class TowerQueue:
    """The turns at one tower. Used within one event loop.

    Args:
        at_once: items that the tower is given at a time while one key calls.
        max_wait: seconds for which a request may wait at least, however short the queue is meant to be.
        clock: seconds that never go back.

    Attributes:
        at_tower: items that the tower has.
        waiting: items that wait for their turn.
    """

    def __init__(
        self, at_once: int, max_wait: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._at_once = at_once
        self._max_wait = max_wait
        self._clock = clock
        self._rate = Rate()
        self.at_tower = 0
        self.waiting = 0
        self._requests: dict[str, deque[Waiting]] = {}
        self._turns: deque[str] = deque()
        self._credit: dict[str, int] = {}
        # The keys that have called in this second, and in the one before.
        self._callers: set[str] = set()
        self._before: set[str] = set()
        self._keys = 0
        self._next_second = clock() + 1.0

    def pass_at_once(self, key: str, count: int) -> bool:
        """Whether `count` items, at most a piece, need not wait: then they are at the tower until `done`."""
        self._note(key)
        if self._turns or self.at_tower >= self._limit():
            return False
        self.at_tower += count
        return True

    def enter(self, key: str, count: int, seconds: float | None, begin: Callable[[int], None]) -> Waiting:
        """Wait for the turns of a request; the first may come before this returns.

        Args:
            seconds: that the caller waits for all of it; None for as long as it takes.
            begin: as `Waiting` has it. Whoever it begins something for calls `done` at its end.

        Raises:
            ApiError: it would wait too long.
        """
        self._note(key)
        if self._turns or self.at_tower >= self._limit():
            self._check(key, count, seconds)
        request = Waiting(key, count, begin)
        if key not in self._requests:
            self._requests[key] = deque()
            self._turns.append(key)
            self._credit[key] = PIECE
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

    def done(self, count: int) -> None:
        """Items are at the tower no more."""
        self.at_tower -= count
        self._rate.done(count, self._clock(), others_wait=bool(self._turns))
        self._pass_on()

    def _pass_on(self) -> None:
        limit = self._limit()
        while self._turns and self.at_tower < limit:
            key = self._turns[0]
            requests = self._requests[key]
            request = requests[0]
            size = min(PIECE, request.left)
            if size > self._credit[key]:
                self._credit[key] += PIECE
                self._turns.rotate(-1)
                continue
            self._credit[key] -= size
            request.left -= size
            requests.popleft()
            if request.left:
                requests.append(request)
            self._drop_if_empty(key)
            self.waiting -= size
            self.at_tower += size
            request.begin(size)

    def _drop_if_empty(self, key: str) -> None:
        if not self._requests[key]:
            del self._requests[key], self._credit[key]
            self._turns.remove(key)

    def _limit(self, keys: int | None = None) -> int:
        """Items that the tower has at a time while so many keys call; as many as do now, unless given."""
        keys = keys or self._keys
        least = self._at_once if keys < 2 else max(min(_SHARED, self._at_once), self._at_once // keys)
        fast = self._rate.per_second
        return least if fast is None else max(least, min(int(fast * _SECONDS), _MOST))

    def _note(self, key: str) -> None:
        """Who has called within the last second or two."""
        now = self._clock()
        if now >= self._next_second:
            self._before, self._callers = self._callers, set()
            self._keys = len(self._before)
            self._next_second = now + 1.0
        if key not in self._callers:
            self._callers.add(key)
            self._keys += key not in self._before

    def _check(self, key: str, count: int, seconds: float | None) -> None:
        rate = self._rate.per_second
        before = self._ahead(key, min(count, PIECE), PIECE)
        allowed = max(_WAITING * self._limit(keys=1), self._max_wait * (rate or 0.0))
        if before > allowed:
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
