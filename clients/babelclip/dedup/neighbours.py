"""The nearest neighbours of every vector among all the others.

An index answers one query in milliseconds, and a million of them in hours. Here the vectors are laid into
cells by the centroids nearest to them, as an inverted file does it, and all queries of a cell are answered
by one matrix product: minutes. Each vector is looked for in the cells of its nearest centroids, so that
what lies on a border is found from both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from babelclip.embeddings import Vectors

Pairs = NDArray[np.int64]

CELLS_OF_A_VECTOR = 3
_NONE = np.empty(0, dtype=np.int64)
_ONE_CELL = 4096  # vectors up to which all are compared with all
_LARGEST = 8192  # vectors of a cell that are compared with each other
_QUERIES = 512  # of them at once: a product of 16 MB
_PIECE = 16_384  # vectors that are read at a time
_SAMPLES = 32  # for each centroid
_ROUNDS = 6


def nearest_pairs(
    vectors: Vectors,
    *,
    top: int,
    cosine: float,
    step: Callable[[int], None] = lambda rows: None,
) -> tuple[Pairs, NDArray[np.float32]]:
    """Pairs of vectors of which one is among the `top` nearest of the other, and their cosines.

    The time grows with N · √N · D, of which √N is a thousand for a million; the memory holds a piece of the
    vectors, the cells and the pairs.

    Args:
        vectors: float32 [N, D] of length 1; may be mapped from a file.
        cosine: pairs of a lower one are left out.
        step: is called with a number of vectors that are done; N in all.

    Returns:
        int64 [P, 2], the smaller first, each pair once, and float32 [P].
    """
    count = len(vectors)
    found: list[tuple[Pairs, Pairs, NDArray[np.float32]]] = []
    done = 0
    for members in _cells(vectors):
        for part in _parts(vectors, members):
            found.append(_within(vectors, part, top, cosine))
            before = done
            done += len(part)
            step(done // CELLS_OF_A_VECTOR - before // CELLS_OF_A_VECTOR)
    step(count - done // CELLS_OF_A_VECTOR)
    one, other, cosines = (np.concatenate(part) for part in zip(*found, strict=True))
    return _best(one, other, cosines, top, count)


def _cells(vectors: Vectors) -> Iterator[Pairs]:
    """Positions of the vectors of each cell, ascending; a vector may be in several."""
    count = len(vectors)
    if count <= _ONE_CELL:
        yield np.arange(count)
        return
    centroids = _centroids(vectors, max(2, round(np.sqrt(2 * count))))
    cells_of = min(CELLS_OF_A_VECTOR, len(centroids))
    chosen = np.empty((count, cells_of), dtype=np.int32)
    for begin in range(0, count, _PIECE):
        products = np.asarray(vectors[begin : begin + _PIECE]) @ centroids.T
        chosen[begin : begin + _PIECE] = np.argpartition(-products, cells_of - 1, axis=1)[:, :cells_of]
    order = np.argsort(chosen.ravel(), kind="stable")
    bounds = np.searchsorted(chosen.ravel()[order], np.arange(len(centroids) + 1))
    for begin, end in pairwise(bounds.tolist()):
        if end > begin:
            yield order[begin:end] // cells_of


def _centroids(vectors: Vectors, cells: int) -> Vectors:
    """Spherical k-means over a sample: float32 [cells, D]."""
    random = np.random.default_rng(0)
    sample = np.sort(random.choice(len(vectors), min(len(vectors), _SAMPLES * cells), replace=False))
    points = np.asarray(vectors[sample])
    centroids: Vectors = points[random.choice(len(points), cells, replace=False)].copy()
    for _ in range(_ROUNDS):
        nearest = np.concatenate(
            [(points[at : at + _PIECE] @ centroids.T).argmax(axis=1) for at in range(0, len(points), _PIECE)]
        )
        order = np.argsort(nearest, kind="stable")
        filled, starts = np.unique(nearest[order], return_index=True)
        sums = np.add.reduceat(points[order], starts, axis=0)
        centroids[filled] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return centroids


def _parts(vectors: Vectors, members: Pairs) -> Iterator[Pairs]:
    """A cell that is too large, as of thousands of equal images, in parts along where it is longest."""
    if len(members) <= _LARGEST:
        yield members
        return
    centre = np.asarray(vectors[members[:_LARGEST]]).mean(axis=0)
    axis = np.asarray(vectors[members[-1]]) - centre
    along = np.concatenate(
        [np.asarray(vectors[members[at : at + _PIECE]]) @ axis for at in range(0, len(members), _PIECE)]
    )
    ordered = members[np.argsort(along, kind="stable")]
    for begin in range(0, len(ordered), _LARGEST):
        yield np.sort(ordered[begin : begin + _LARGEST])


def _within(
    vectors: Vectors, members: Pairs, top: int, cosine: float
) -> tuple[Pairs, Pairs, NDArray[np.float32]]:
    """The `top` nearest of each member among the members: two columns of positions, and cosines."""
    values = np.asarray(vectors[members])
    top = min(top, len(members) - 1)
    ones, others, found = [_NONE], [_NONE], [np.empty(0, dtype=np.float32)]
    for begin in range(0, len(members) if top > 0 else 0, _QUERIES):
        products = values[begin : begin + _QUERIES] @ values.T
        queries = np.arange(len(products))
        products[queries, begin + queries] = -np.inf
        nearest = np.argpartition(-products, top - 1, axis=1)[:, :top]
        cosines = np.take_along_axis(products, nearest, axis=1)
        rows, columns = np.nonzero(cosines >= cosine)
        ones.append(members[begin + rows])
        others.append(members[nearest[rows, columns]])
        found.append(cosines[rows, columns])
    return np.concatenate(ones), np.concatenate(others), np.concatenate(found)


def _best(
    one: Pairs, other: Pairs, cosines: NDArray[np.float32], top: int, count: int
) -> tuple[Pairs, NDArray[np.float32]]:
    """Of what the cells found, the `top` of each vector; each pair once."""
    _, unique = np.unique(one * count + other, return_index=True)
    one, other, cosines = one[unique], other[unique], cosines[unique]
    order = np.lexsort((-cosines, one))
    one, other, cosines = one[order], other[order], cosines[order]
    starts = np.searchsorted(one, one, side="left")
    kept = np.arange(len(one)) - starts < top
    low, high = np.minimum(one, other)[kept], np.maximum(one, other)[kept]
    _, unique = np.unique(low * count + high, return_index=True)
    return np.stack([low[unique], high[unique]], axis=1), cosines[kept][unique]
