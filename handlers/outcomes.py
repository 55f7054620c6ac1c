"""What comes of one item: a vector, or why it has none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handlers.errors import ItemError


@dataclass(frozen=True)
class Embedding:
    """One item's vector, float32 [dim], L2-normalised."""

    vector: NDArray[np.float32]
    tokens: int = 0
    """Of a text: how many tokens it has, <s> and </s> included, before it was cut."""
    truncated: bool = False
    """Whether the item was cut to be embedded."""
    unknown: bool = False
    """Whether the tokenizer does not know some letters of a text, or does not know anything in it."""


Outcome = Embedding | ItemError
