"""Recall is measured against exact search, with queries that are no rows."""

from __future__ import annotations

import numpy as np

from babelclip.index.recall import TOP, ExactTop, queries_off_clusters, recall


def unit(count: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rows = np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def test_pieces_give_what_the_whole_gives() -> None:
    """The nearest rows are the same however the rows come, even fewer than are asked for."""
    rows, queries = unit(57, 1), unit(5, 2)
    exact = ExactTop(queries)
    for piece in np.split(rows, [3, 20]):
        exact.add(piece)
    np.testing.assert_allclose(exact.cosines, -np.sort(-(queries @ rows.T), axis=1)[:, :TOP], rtol=1e-6)


def test_recall_counts_ties_and_misses() -> None:
    """A row as near as the last one counts; a row that is farther does not."""
    exact = np.array([[0.9, 0.8], [0.7, 0.7]], np.float32)
    assert recall(exact, [[0.9, 0.8], [0.7, 0.7]]) == 1.0
    assert recall(exact, [[0.9, 0.5], [0.7]]) == 0.5
    assert recall(np.zeros((2, 0), np.float32), [[], []]) == 1.0


def test_queries_lie_off_the_clusters() -> None:
    """No query is near a row where rows form tight clusters, and all are of length 1, even of equal rows."""
    centres = unit(20, 3).repeat(30, axis=0)
    noise = np.random.default_rng(4).normal(scale=0.01, size=centres.shape)
    rows = (centres + noise).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries = queries_off_clusters(rows)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, rtol=1e-5)
    assert np.median((queries @ rows.T).max(axis=1)) < 0.9
    same = queries_off_clusters(np.tile(rows[:1], (10, 1)))
    np.testing.assert_allclose(np.linalg.norm(same, axis=1), 1, rtol=1e-5)
