"""What was seen of a candidate beside the serving version, kept for a judgement."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from babelclip.embeddings import Embeddings, Vectors
from babelclip.shadow.comparison import Limits, Report, Seen, judge
from babelclip.wire import TOWERS, Tower


@dataclass(frozen=True)
class Comparison:
    """What came of one request that went to both.

    Attributes:
        both: bool [N]: the items that both have embedded.
        alone: the codes of the items that only the candidate failed.
        cosines: float32 [number in both] of each item's two vectors; None where they are of two spaces.
    """

    both: NDArray[np.bool_]
    alone: tuple[str, ...]
    cosines: Vectors | None


class Observations:
    """The latest vectors of each tower from both versions, and what else speaks for or against the candidate.

    May be used by several threads.

    Args:
        keep: vectors of each tower, of the latest items.
    """

    def __init__(self, keep: int) -> None:
        self._rows: dict[Tower, deque[tuple[Vectors, Vectors]]] = {t: deque(maxlen=keep) for t in TOWERS}
        self._seconds: dict[Tower, deque[tuple[float, float]]] = {t: deque(maxlen=keep) for t in TOWERS}
        self._failed: Counter[str] = Counter()
        self._compared = 0
        self._dropped = 0
        self._spaces: tuple[str, str] | None = None
        self._lock = threading.Lock()

    def enter(
        self, tower: Tower, served: Embeddings, found: Embeddings, seconds: tuple[float, float]
    ) -> Comparison:
        """What both gave for the same items, and in how many seconds, the serving version's first."""
        both = served.ok & found.ok
        alone = tuple(error.code for error in found.errors if served.ok[error.index])
        with self._lock:
            self._failed.update(alone)
            self._compared += int(served.ok.sum())
            if both.any():
                spaces = (served.space, found.space)
                if self._spaces not in (None, spaces):  # Vectors of before have no neighbours among these.
                    for kept in self._rows.values():
                        kept.clear()
                self._spaces = spaces
            self._rows[tower].extend((served.vectors[i], found.vectors[i]) for i in np.flatnonzero(both))
            self._seconds[tower].append(seconds)
        if served.space != found.space:
            return Comparison(both, alone, None)
        rows = np.flatnonzero(both)
        if not len(rows):  # The candidate may not even have a dimension then.
            return Comparison(both, alone, np.zeros(0, np.float32))
        return Comparison(both, alone, (served.vectors[rows] * found.vectors[rows]).sum(1))

    def lost(self, served: Embeddings, code: str) -> int:
        """The candidate gave no answer at all → the number of items that it failed alone."""
        count = int(served.ok.sum())
        with self._lock:
            self._failed[code] += count
            self._compared += count
        return count

    def drop(self) -> None:
        """A request was not copied."""
        with self._lock:
            self._dropped += 1

    def report(self, limits: Limits | None = None) -> Report:
        """What has been compared so far, and whether the candidate may be promoted."""
        with self._lock:
            seen = Seen(
                rows={tower: list(kept) for tower, kept in self._rows.items() if kept},
                seconds={tower: list(kept) for tower, kept in self._seconds.items() if kept},
                spaces=self._spaces,
                failed=dict(self._failed),
                compared=self._compared,
                dropped=self._dropped,
            )
        return judge(seen, limits or Limits())
