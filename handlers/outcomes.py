"""What comes of one item: a vector, or why it has none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handlers.errors import ItemFault


@dataclass(frozen=True)
class Embedded:
    """One item's vector, float32 [dim], L2-normalised."""

    vector: NDArray[np.float32]
    tokens: int = 0
    """Of a text: how many it has, <s> and </s> included, before it was cut."""
    truncated: bool = False
    """Whether the item was cut to be embedded."""
    unknown: bool = False
    """Whether a text has letters that the tokenizer does not know, or nothing that it knows."""


Outcome = Embedded | ItemFault
