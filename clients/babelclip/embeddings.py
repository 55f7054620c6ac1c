"""Vectors, the embedding space they live in, and the only comparison that is defined between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from babelclip.errors import ItemError, SpaceMismatch

Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The vectors of N items, in the order of the call.

    Attributes:
        vectors: float32 [N, D], each row of length 1. The row of a failed item is all zeros. D is 0 where
            no answer has told it yet: an empty call, or one whose items all failed before they were sent.
        space: fingerprint of the weights, tokenizer and preprocessing; vectors of two spaces are never
            comparable. Empty where no answer has told it yet.
        logit_scale: what to multiply a cosine by before a softmax over candidates; 1.0 where no answer
            has told it yet.
        version: the version of the model that answered; empty where no answer has told it.
        errors: the items without a vector, by ascending index.
        truncated: indices of the texts that were cut to the tower's token limit.
        unknown: indices of the texts with letters or digits that the model's tokenizer does not know, or with
            nothing that it knows: it takes any such letter for the same one, so their vectors say less, or
            nothing. Empty from servers that do not tell.
    """

    vectors: Vectors
    space: str
    logit_scale: float
    errors: tuple[ItemError, ...] = ()
    truncated: tuple[int, ...] = ()
    version: str = ""
    unknown: tuple[int, ...] = ()
    _failed: frozenset[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_failed", frozenset(error.index for error in self.errors))

    @property
    def dim(self) -> int:
        """D, the number of values in a vector."""
        return int(self.vectors.shape[1])

    @property
    def ok(self) -> NDArray[np.bool_]:
        """bool [N]: which items have a vector; `embeddings[embeddings.ok]` holds just those."""
        mask = np.ones(len(self), dtype=np.bool_)
        mask[list(self._failed)] = False
        return mask

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.vectors, dtype=dtype, copy=copy)

    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> Vectors: ...
    @overload
    def __getitem__(self, key: slice | Sequence[int] | NDArray[Any]) -> Embeddings: ...
    def __getitem__(
        self, key: int | np.integer[Any] | slice | Sequence[int] | NDArray[Any]
    ) -> Vectors | Embeddings:
        """One position → its vector, float32 [D]. A slice, positions or a mask [N] → Embeddings of those.

        Raises:
            IndexError: there is no such position, or a mask has another length than N.
        """
        if isinstance(key, int | np.integer):
            row: Vectors = self.vectors[key]
            return row
        if not isinstance(key, slice) and len(key) == 0:
            key = slice(0, 0)
        chosen = np.arange(len(self))[key].tolist()
        by_index = {error.index: error for error in self.errors}
        cut, unknown = set(self.truncated), set(self.unknown)
        return Embeddings(
            vectors=self.vectors[chosen],
            space=self.space,
            logit_scale=self.logit_scale,
            errors=tuple(
                ItemError(new, by_index[old].code, by_index[old].message)
                for new, old in enumerate(chosen)
                if old in by_index
            ),
            truncated=tuple(new for new, old in enumerate(chosen) if old in cut),
            version=self.version,
            unknown=tuple(new for new, old in enumerate(chosen) if old in unknown),
        )


def concatenate(parts: Iterable[Embeddings]) -> Embeddings:
    """Embeddings of N₁, N₂, … items → those of all, in order; errors and flags are numbered anew.

    Raises:
        SpaceMismatch: the parts are vectors of different embedding spaces.
    """
    whole = list(parts)
    spaces = sorted({part.space for part in whole if part.space})
    if len(spaces) > 1:
        raise SpaceMismatch(f"vectors of the spaces {' and '.join(spaces)} cannot stand in one result")
    told = next((part for part in reversed(whole) if part.space), None)
    dim = max((part.dim for part in whole), default=0)
    starts = np.cumsum([0, *(len(part) for part in whole)]).tolist()
    vectors = np.zeros((starts[-1], dim), dtype=np.float32)
    errors: list[ItemError] = []
    truncated: list[int] = []
    unknown: list[int] = []
    for start, part in zip(starts, whole, strict=False):
        if part.dim:  # Else nothing of it reached a tower, and there are no values to copy.
            vectors[start : start + len(part)] = part.vectors
        errors += (ItemError(start + error.index, error.code, error.message) for error in part.errors)
        truncated += (start + index for index in part.truncated)
        unknown += (start + index for index in part.unknown)
    return Embeddings(
        vectors=vectors,
        space=told.space if told else "",
        logit_scale=told.logit_scale if told else 1.0,
        errors=tuple(errors),
        truncated=tuple(truncated),
        version=told.version if told else "",
        unknown=tuple(unknown),
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
