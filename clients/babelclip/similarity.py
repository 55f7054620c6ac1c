"""Embeddings put together and compared, where their spaces allow it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from babelclip.embeddings import Embeddings, Vectors
from babelclip.errors import SpaceMismatch
from babelclip.item_errors import ItemError


def concatenate(parts: Iterable[Embeddings]) -> Embeddings:
    """Embeddings of N₁, N₂, … items → those of all, in order; errors and flags are numbered anew.

    Raises:
        SpaceMismatch: the parts are vectors of different embedding spaces.
    """
    whole = list(parts)
    spaces = sorted({part.space for part in whole if part.space})
    if len(spaces) > 1:
        raise SpaceMismatch(f"vectors of the spaces {' and '.join(spaces)} cannot stand in one result")
    answered = next((part for part in reversed(whole) if part.space), None)
    dim = max((part.dim for part in whole), default=0)
    starts = np.cumsum([0, *(len(part) for part in whole)]).tolist()
    vectors = np.zeros((starts[-1], dim), dtype=np.float32)
    errors: list[ItemError] = []
    truncated: list[int] = []
    unknown: list[int] = []
    tokens: list[int] = []
    for start, part in zip(starts, whole, strict=False):
        if part.dim:  # Else nothing of it reached a tower, and there are no values to copy.
            vectors[start : start + len(part)] = part.vectors
        errors += (ItemError(start + error.index, error.code, error.message) for error in part.errors)
        truncated += (start + index for index in part.truncated)
        unknown += (start + index for index in part.unknown)
        tokens += part.tokens or (0,) * len(part)
    return Embeddings(
        vectors=vectors,
        space=answered.space if answered else "",
        logit_scale=answered.logit_scale if answered else 1.0,
        errors=tuple(errors),
        truncated=tuple(truncated),
        version=answered.version if answered else "",
        unknown=tuple(unknown),
        tokens=tuple(tokens) if any(part.tokens for part in whole) else (),
    )


def similarity(a: Embeddings, b: Embeddings) -> Vectors:
    """Cosines of every item of `a` with every item of `b`: float32 [len(a), len(b)], from -1 to 1.

    The rows and columns of failed items are NaN, so that a missing vector never passes for a poor match.

    Raises:
        SpaceMismatch: `a` and `b` are vectors of different embedding spaces.
    """
    if a.space != b.space and a.space and b.space:
        raise SpaceMismatch(
            f"vectors of the spaces {a.space} and {b.space} cannot be compared; embed both with one model"
        )
    if a.space == b.space and a.dim == b.dim:
        cosines: Vectors = (a.vectors @ b.vectors.T).clip(-1.0, 1.0)
    else:  # One side never reached a tower: it is empty, or all of it failed.
        cosines = np.zeros((len(a), len(b)), dtype=np.float32)
    cosines[~a.ok, :] = np.nan
    cosines[:, ~b.ok] = np.nan
    return cosines
