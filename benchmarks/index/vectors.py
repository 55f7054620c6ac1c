"""Vectors as images give them, in clusters and of few dimensions, and queries off the clusters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

RANK = 48
DECAY = 0.5  # the spread along the n-th direction is n ** -DECAY
SPREAD = 0.5  # of a cluster, of that of all
NOISE = 0.2  # the part of a vector that is in all of its values
ROWS_PER_CLUSTER = 1000


class Source:
    """The same rows and queries for the same seed; rows also depend on the size of the pieces."""

    def __init__(self, rows: int, dim: int, seed: int = 0) -> None:
        self.rows = rows
        self.dim = dim
        self._seed = seed
        random = np.random.default_rng(seed)
        falling = np.arange(1, RANK + 1, dtype=np.float32)[:, None] ** -DECAY
        self._basis = (random.normal(size=(RANK, dim)) * falling).astype(np.float32)
        self._centres = random.normal(size=(max(20, rows // ROWS_PER_CLUSTER), RANK)).astype(np.float32)

    def pieces(self, size: int) -> Iterator[Vectors]:
        """float32 [up to size, dim] of length 1: all rows."""
        for start in range(0, self.rows, size):
            yield self.some(min(size, self.rows - start), start + 1)

    def some(self, count: int, seed: int) -> Vectors:
        """float32 [count, dim] of length 1: rows in the clusters."""
        random = np.random.default_rng((self._seed, seed))
        picks = self._centres[random.integers(len(self._centres), size=count)]
        within = picks + SPREAD * random.standard_normal((count, RANK), dtype=np.float32)
        noise = random.standard_normal((count, self.dim), dtype=np.float32)
        return _unit(_unit(within @ self._basis) + NOISE / np.sqrt(self.dim, dtype=np.float32) * noise)

    def queries(self, count: int) -> Vectors:
        """float32 [count, dim] of length 1: anywhere in the directions that rows spread along."""
        random = np.random.default_rng((self._seed, 0, 1))
        return _unit(random.standard_normal((count, RANK), dtype=np.float32) @ self._basis)


def _unit(rows: Vectors) -> Vectors:
    unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32, copy=False)
    return unit
