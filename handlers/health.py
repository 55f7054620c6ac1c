"""Whether a tower works, proved by its canary: an input that came with the archive, and its vector.

TorchServe answers /ping while workers crash. This is asked of the tower itself and takes the way of every
request, through the queue and the program; a worker that is gone is TorchServe's own error within seconds.

    HTTP       GET /predictions/MODEL with Accept: application/health+json
    protobuf   EmbedRequest.canary, over HTTP or gRPC

The JSON follows draft-inadarei-api-health-check: {"status":"pass","serviceId":"text","releaseId":SPACE,
"notes":["cpu float32 onnxruntime"]}. The note says what the worker computes by.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.answers import Answer, Outcome, compact
from handlers.envelope import HEALTH
from handlers.errors import CANARY_MISMATCH, ItemFault, RequestFault


@dataclass(frozen=True)
class Canary:
    """A text or an encoded image, and float32 [dim] that it gave when the tower was exported."""

    item: str | bytes
    vector: NDArray[np.float32]
    min_cosine: float


def read_canary(raw: Mapping[str, Any], tower: str) -> Canary:
    """The section `canary` of meta.json.

    Raises:
        KeyError, TypeError, ValueError: it is not as the export writes it.
    """
    item: str | bytes = str(raw["input"])
    if tower == "vision":
        item = base64.b64decode(item, validate=True)
    vector = np.frombuffer(base64.b64decode(raw["vector"], validate=True), dtype="<f4")
    return Canary(item=item, vector=vector, min_cosine=float(raw["min_cosine"]))


def check(canary: Canary, outcome: Outcome) -> RequestFault | None:
    """What is wrong with a tower whose canary had this outcome; None when nothing is."""
    if isinstance(outcome, ItemFault):
        return RequestFault(CANARY_MISMATCH, f"the canary could not be embedded: {outcome.message}")
    cosine = float(outcome.vector @ canary.vector)  # Both are of length 1.
    if cosine >= canary.min_cosine:
        return None
    return RequestFault(
        CANARY_MISMATCH,
        f"the tower gives another vector than when it was exported: cosine {cosine:.4f}, "
        f"at least {canary.min_cosine} is needed",
    )


def passed(tower: str, space: str, numerics: str) -> Answer:
    """The answer to a probe of a tower that works."""
    return _answer({"status": "pass", "serviceId": tower, "releaseId": space, "notes": [numerics]}, 200)


def refuse(fault: RequestFault, tower: str, space: str) -> Answer:
    """The answer to a probe of a tower that does not, or to a probe that was refused."""
    output = f"{fault.code}: {fault.message}"
    return _answer({"status": "fail", "serviceId": tower, "releaseId": space, "output": output}, fault.status)


def _answer(report: Mapping[str, Any], status: int) -> Answer:
    return Answer(compact(report).encode(), HEALTH, status)
