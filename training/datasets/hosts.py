"""Which address to fetch next: hosts take turns, a few fetches at a time each, none while it wants rest."""

import heapq
import time
from collections import Counter, deque
from collections.abc import Iterable
from urllib.parse import urlsplit


def host_of(url: str) -> str:
    """The host of a URL, "" where it has none or is broken, which is refused when fetched."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class Hosts:
    """The addresses that wait, by host. Used by one thread."""

    def __init__(self, urls: Iterable[str], *, at_once: int) -> None:
        self._at_once = at_once
        self._waiting: dict[str, deque[str]] = {}
        for url in urls:
            self._waiting.setdefault(host_of(url), deque()).append(url)
        self._active: Counter[str] = Counter()
        self._free = dict.fromkeys(self._waiting)  # in the order of their turns
        self._resting: list[tuple[float, str]] = []  # a heap by the time of waking

    def next(self) -> str | None:
        """An address that may be fetched now; the caller says `done` afterwards."""
        while self._resting and self._resting[0][0] <= time.monotonic():
            self._offer(heapq.heappop(self._resting)[1])
        if not self._free:
            return None
        host = next(iter(self._free))
        del self._free[host]
        url = self._waiting[host].popleft()
        self._active[host] += 1
        self._offer(host)
        return url

    def done(self, url: str) -> None:
        host = host_of(url)
        self._active[host] -= 1
        self._offer(host)

    def again(self, url: str, seconds: float) -> None:
        """Put a fetched address back; its host rests for `seconds`."""
        host = host_of(url)
        self._waiting[host].append(url)
        self._free.pop(host, None)
        heapq.heappush(self._resting, (time.monotonic() + seconds, host))

    def give_up(self, url: str) -> None:
        """Let the host of a fetched address have no further turn."""
        self._waiting[host_of(url)].clear()
        self._free.pop(host_of(url), None)

    def rest(self) -> float | None:
        """Seconds until the next host wakes; None when none rests."""
        return max(0.0, self._resting[0][0] - time.monotonic()) if self._resting else None

    def _offer(self, host: str) -> None:
        """Let the host have a turn if it has an address, fewer fetches than allowed, and does not rest."""
        rests = any(host == resting for _, resting in self._resting)
        if self._waiting[host] and self._active[host] < self._at_once and not rests:
            self._free.setdefault(host)
