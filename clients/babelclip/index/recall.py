"""Whether a search structure finds what a comparison with every vector finds, measured on a sample.

Queries are neither rows nor near some: a text lies apart from the clusters that images form, and there an
approximate search is at its worst.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from babelclip.embeddings import Vectors

TOP = 10
AIM = 0.993
"""Of the sample, so that with other queries the recall is above 0.99: it is told to ± 0.002."""

QUERIES = 200
MIXED = 8  # rows to a query
_TIE = 1e-5  # of a cosine: rounding, and rows with the same vector


def queries_off_clusters(vectors: Vectors, count: int = QUERIES, seed: int = 0) -> Vectors:
    """float32 [N, dim], a random sample of rows → float32 [count, dim] of length 1.

    Each is the mean of all plus a random combination of a few rows' differences from it: spread as the rows
    are, without their clusters.
    """
    random = np.random.default_rng(seed)
    mean = vectors.mean(axis=0)
    picks = random.integers(len(vectors), size=(count, MIXED))
    weights = random.normal(size=(count, MIXED, 1)) / np.sqrt(MIXED)
    mixed = mean + (weights * (vectors[picks] - mean)).sum(axis=1)
    norms = np.linalg.norm(mixed, axis=1, keepdims=True)
    queries: Vectors = np.where(norms > _TIE, mixed / np.maximum(norms, _TIE), vectors[picks[:, 0]])
    return queries.astype(np.float32)


class ExactTop:
    """The `top` largest cosines of each query with all rows, which come in pieces."""

    def __init__(self, queries: Vectors, top: int = TOP) -> None:
        self._queries, self._top = queries, top
        self.cosines = np.full((len(queries), 0), -np.inf, dtype=np.float32)
        """float32 [queries, up to top], largest first."""

    def add(self, vectors: Vectors) -> None:
        """float32 [N, dim]: the next rows."""
        found = self._queries @ vectors.T
        if found.shape[1] > self._top:
            found = -np.partition(-found, self._top - 1, axis=1)[:, : self._top]
        self.cosines = -np.sort(-np.concatenate([self.cosines, found], axis=1), axis=1)[:, : self._top]


def recall(exact: Vectors, found: Sequence[Sequence[float]]) -> float:
    """Share of the nearest rows that were found, by their cosines: of rows that tie any will do.

    Args:
        exact: float32 [queries, top] as of `ExactTop`.
        found: of each query the cosines of what an approximate search gave, at most so many.
    """
    if not exact.size:
        return 1.0
    hits = [
        min(exact.shape[1], sum(cosine >= wanted[-1] - _TIE for cosine in given))
        for wanted, given in zip(exact, found, strict=True)
    ]
    return float(sum(hits) / exact.size)
