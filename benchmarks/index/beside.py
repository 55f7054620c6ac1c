"""What an index is measured beside: FAISS IVF, and a comparison with every vector."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.index.measure import Timed, timed
from benchmarks.index.vectors import Source, Vectors

PROBES = (8, 16, 32, 64, 128, 256)
AIM = 0.99
_CODES = "SQ8"  # a byte for each value: all float vectors of millions of rows would not fit beside the rest


class Exact:
    """The nearest rows of each query, with and without a filter, by one pass over all rows."""

    def __init__(self, queries: Vectors, top: int, every: int) -> None:
        self._queries, self._top, self._every = queries, top, every
        empty = (np.zeros((len(queries), 0), np.int64), np.zeros((len(queries), 0), np.float32))
        self._all, self._kept = empty, empty
        self.seconds = 0.0
        """Processor time of the pass."""

    def add(self, vectors: Vectors, begin: int) -> None:
        """The rows `begin` to `begin + len(vectors)`."""
        started = time.process_time()
        cosines = self._queries @ vectors.T
        numbers = np.arange(begin, begin + len(vectors))
        self._all = self._best(self._all, numbers, cosines)
        kept = numbers % self._every == 0
        self._kept = self._best(self._kept, numbers[kept], cosines[:, kept])
        self.seconds += time.process_time() - started

    def _best(self, known: tuple[Any, Any], numbers: Any, cosines: Vectors) -> tuple[Any, Any]:
        rows = np.concatenate([known[0], np.broadcast_to(numbers, cosines.shape)], axis=1)
        values = np.concatenate([known[1], cosines], axis=1)
        if values.shape[1] > self._top:
            best = np.argpartition(-values, self._top - 1, axis=1)[:, : self._top]
            rows, values = np.take_along_axis(rows, best, 1), np.take_along_axis(values, best, 1)
        return rows, values

    @property
    def nearest(self) -> list[set[int]]:
        return [set(row.tolist()) for row in self._all[0]]

    @property
    def nearest_kept(self) -> list[set[int]]:
        """Of the rows whose number is a multiple of `every`."""
        return [set(row.tolist()) for row in self._kept[0]]


def faiss_ivf(source: Source, piece: int, queries: Vectors, nearest: list[set[int]]) -> dict[str, Any]:
    """FAISS IVF with a byte for each value, with the fewest probes that reach the recall."""
    import faiss

    started = time.perf_counter()
    lists = max(1, source.rows // 1024)
    index: Any = faiss.index_factory(source.dim, f"IVF{lists},{_CODES}", faiss.METRIC_INNER_PRODUCT)
    index.train(source.some(min(source.rows, 64 * lists), seed=1))
    for vectors in source.pieces(piece):
        index.add(vectors)
    built = time.perf_counter() - started
    found: Timed = Timed([], [], 0.0)
    reached = 0.0
    for index.nprobe in PROBES:
        found = timed(lambda query: index.search(query[None], 10)[1][0].tolist(), queries)
        reached = found.recall(nearest)
        if reached >= AIM:
            break
    return {"build_s": built, "probes": index.nprobe, "recall_at_10": reached, **found.figures()}
