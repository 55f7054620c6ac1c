"""Queries one after the other or from several callers, and what they found."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

WARM = 20  # queries before what is timed


@dataclass(frozen=True)
class Timed:
    """Of each query the rows that were found and its seconds, and the processor time of all, in seconds."""

    found: list[Sequence[int]]
    seconds: list[float]
    processor: float

    def recall(self, nearest: Sequence[set[int]]) -> float:
        """Share of the nearest rows that were found."""
        hits = sum(len(wanted & set(given)) for wanted, given in zip(nearest, self.found, strict=True))
        return hits / max(1, sum(len(wanted) for wanted in nearest))

    def figures(self) -> dict[str, float]:
        milliseconds = np.asarray(self.seconds) * 1e3
        return {
            "p50_ms": float(np.percentile(milliseconds, 50)),
            "p99_ms": float(np.percentile(milliseconds, 99)),
            "processor_ms": self.processor / len(self.seconds) * 1e3,
        }


def timed(search: Callable[[Any], Sequence[int]], queries: Any) -> Timed:
    """One caller; the first queries are asked before, too, so that what they load is loaded."""
    for query in queries[:WARM]:
        search(query)
    found, seconds = [], []
    processor = time.process_time()
    for query in queries:
        begun = time.perf_counter()
        found.append(search(query))
        seconds.append(time.perf_counter() - begun)
    return Timed(found, seconds, time.process_time() - processor)


def searches_per_second(search: Callable[[Any], Any], queries: Any, callers: int, seconds: float) -> float:
    """Of all callers together, each of which asks its next query when the one before is answered."""
    end = time.perf_counter() + seconds

    def ask(first: int) -> int:
        asked = 0
        while time.perf_counter() < end:
            search(queries[(first + asked) % len(queries)])
            asked += 1
        return asked

    begun = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        asked = sum(pool.map(ask, range(callers)))
    return asked / (time.perf_counter() - begun)


def resident_mb(process: int | str = "self") -> float:
    """Of a process, now; without the kernel's cache of files."""
    with open(f"/proc/{process}/statm", encoding="ascii") as numbers:
        return int(numbers.read().split()[1]) * 4096 / 1e6
