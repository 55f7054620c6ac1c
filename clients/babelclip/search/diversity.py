"""Rows that look the same: which they are, and how those of a burst share one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from babelclip.embeddings import Vectors
from babelclip.index.base import Row


@dataclass(frozen=True)
class Near:
    """When two rows are near-duplicates: by their vectors, by their perceptual hashes, or by the same bytes.

    Attributes:
        cosine: the least one of their vectors; None to leave vectors out.
        bits: the most that may differ of the 64 of their perceptual hashes; None to leave those out.
        hashed_cosine: the least one at which the hashes are believed: those of plain areas are all alike.
    """

    cosine: float | None = 0.97
    bits: int | None = 6
    hashed_cosine: float = 0.85

    def __post_init__(self) -> None:
        if self.cosine is not None and not 0 < self.cosine <= 1:
            raise ValueError(f"cosine must be above 0 and at most 1, not {self.cosine}")
        if self.bits is not None and not 0 <= self.bits <= 64:
            raise ValueError(f"bits must be from 0 to 64, not {self.bits}")


NEAR = Near()
FOLDED_BY = ("vector", "perceptual_hash", "checksum")
"""The columns of a row that say what it is near to."""


def fold(rows: Sequence[Row], near: Near = NEAR) -> list[list[int]]:
    """N rows, best first → groups of positions, the best of each first, in the order of the best ones.

    A row joins the first group whose best row it is near to, so that a long series in which each resembles
    the next does not become one. What a row lacks, as its vector, makes it near to nothing.
    """
    alike = near_pairs(rows, near)
    groups: list[list[int]] = []
    taken = np.zeros(len(rows), dtype=bool)
    for best in range(len(rows)):
        if not taken[best]:
            joined = alike[best] & ~taken
            joined[: best + 1] = False
            taken |= joined
            groups.append([best, *np.flatnonzero(joined).tolist()])
    return groups


def near_pairs(rows: Sequence[Row], near: Near = NEAR) -> NDArray[np.bool_]:
    """bool [N, N]: which of N rows are near-duplicates of which."""
    cosines = _cosines(rows)
    alike = np.eye(len(rows), dtype=bool)
    if near.cosine is not None:
        alike |= cosines >= near.cosine
    if near.bits is not None:
        # Where a vector is missing its cosine is NaN, which contradicts nothing.
        alike |= (_differing_bits(rows) <= near.bits) & ~(cosines < near.hashed_cosine)
    known: dict[str, int] = {}
    contents = np.array(
        [known.setdefault(row.checksum, n) if row.checksum else -n for n, row in enumerate(rows, 1)]
    )
    alike |= contents[:, None] == contents[None, :]
    return alike


def _cosines(rows: Sequence[Row]) -> Vectors:
    """float32 [N, N]; NaN where one of two has no vector."""
    cosines: Vectors = np.full((len(rows), len(rows)), np.nan, dtype=np.float32)
    vectors = {n: row.vector for n, row in enumerate(rows) if row.vector is not None}
    if vectors:
        present = list(vectors)
        stacked = np.stack(list(vectors.values()))
        cosines[np.ix_(present, present)] = stacked @ stacked.T
    return cosines


def _differing_bits(rows: Sequence[Row]) -> NDArray[np.int64]:
    """[N, N], from 0 to 64; 65 where one of two has no perceptual hash."""
    bits = np.full((len(rows), len(rows)), 65, dtype=np.int64)
    present = [n for n, row in enumerate(rows) if row.perceptual_hash]
    hashes = np.array([int(rows[n].perceptual_hash, 16) for n in present], dtype=">u8")
    # As signs: their products sum up to the bits that agree less those that differ.
    signs = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1).astype(np.float32) * 2 - 1
    bits[np.ix_(present, present)] = (64 - signs @ signs.T) / 2
    return bits
