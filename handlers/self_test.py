"""The self-test of an archive: an input and the vector that it had at the export, by which a tower is proved.

Archives, manifests and the wire call it `canary`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.errors import CANARY_MISMATCH, ItemError, RequestError
from handlers.outcomes import Outcome


@dataclass(frozen=True)
class SelfTest:
    """A text or an encoded image, and float32 [dim] that it gave when the tower was exported."""

    item: str | bytes
    vector: NDArray[np.float32]
    min_cosine: float


def read_self_test(raw: Mapping[str, Any], tower: str) -> SelfTest:
    """The section `canary` of meta.json.

    Raises:
        KeyError, TypeError, ValueError: it is not as the export writes it.
    """
    item: str | bytes = str(raw["input"])
    if tower == "vision":
        item = base64.b64decode(item, validate=True)
    vector = np.frombuffer(base64.b64decode(raw["vector"], validate=True), dtype="<f4")
    return SelfTest(item=item, vector=vector, min_cosine=float(raw["min_cosine"]))


def check_self_test(self_test: SelfTest, outcome: Outcome) -> RequestError | None:
    """What is wrong with a tower whose self-test had this outcome; None when nothing is."""
    if isinstance(outcome, ItemError):
        return RequestError(CANARY_MISMATCH, f"the canary could not be embedded: {outcome.message}")
    cosine = float(outcome.vector @ self_test.vector)  # Both are of length 1.
    if cosine >= self_test.min_cosine:
        return None
    return RequestError(
        CANARY_MISMATCH,
        f"the tower gives another vector than when it was exported: cosine {cosine:.4f}, "
        f"at least {self_test.min_cosine} is needed",
    )
