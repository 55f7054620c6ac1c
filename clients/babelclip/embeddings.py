"""Vectors, and the embedding space they live in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from babelclip.item_errors import ItemError

Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The vectors of N items, in the order of the call.

    Attributes:
        vectors: float32 [N, D], each row of length 1. The row of a failed item is all zeros. D is 0 while
            no answer has come: after an empty call, or one whose items all failed before they were sent.
        space: fingerprint of the weights, tokenizer and preprocessing; vectors of two spaces are never
            comparable. Empty while no answer has come.
        logit_scale: what to multiply a cosine by before a softmax over candidates; 1.0 while no
            answer has come.
        version: the version of the model that answered; empty while no answer has come.
        errors: the items without a vector, by ascending index.
        truncated: indices of the texts that were cut to the tower's token limit.
        unknown: indices of the texts with letters or digits that the model's tokenizer does not know, or with
            nothing that it knows: it takes any such letter for the same one, so their vectors say less, or
            nothing. Empty from servers of before.
        tokens: how many tokens each text has, by index, as it was before it was cut; 0 for one that failed.
            Empty for images, and from servers of before.
    """

    vectors: Vectors
    space: str
    logit_scale: float
    errors: tuple[ItemError, ...] = ()
    truncated: tuple[int, ...] = ()
    version: str = ""
    unknown: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
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
            tokens=tuple(self.tokens[old] for old in chosen) if self.tokens else (),
        )
