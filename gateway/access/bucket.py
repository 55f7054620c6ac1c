"""A token bucket: so much a second on average, and a second's worth at once."""

from __future__ import annotations

import time
from collections.abc import Callable


class TokenBucket:
    """Fills at `rate` a second up to a second's worth, at least to one.

    What is larger than the bucket is let through when it is full, and paid off before the next is: no request
    is too large for a key, and the average holds.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._size = max(rate, 1.0)
        self._clock = clock
        self._level = self._size
        self._at = clock()

    def wait(self, count: float) -> float:
        """Seconds until `count` may be taken; 0 for at once."""
        now = self._clock()
        self._level = min(self._size, self._level + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (min(count, self._size) - self._level) / self._rate)

    def take(self, count: float) -> None:
        """Takes `count`, whether there is as much or not."""
        self._level -= count
