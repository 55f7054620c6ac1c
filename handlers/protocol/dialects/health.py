"""Whether a tower works, proved by its canary: an input that came with the archive, and its vector.

TorchServe answers /ping while workers crash. This is asked of the tower itself and takes the way of every
request, through the queue and the program; a worker that is gone is TorchServe's own error within seconds.

    HTTP       GET /predictions/MODEL with Accept: application/health+json
    protobuf   EmbedRequest.canary, over HTTP or gRPC

The JSON follows draft-inadarei-api-health-check: {"status":"pass","serviceId":"text","releaseId":SPACE,
"notes":["cpu float32 onnxruntime"]}. The note says what the worker computes by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handlers.errors import RequestFault
from handlers.protocol.answers import Answer, compact
from handlers.protocol.envelope import HEALTH


def passed(tower: str, space: str, numerics: str) -> Answer:
    """The answer to a probe of a tower that works."""
    return _answer({"status": "pass", "serviceId": tower, "releaseId": space, "notes": [numerics]}, 200)


def refuse(fault: RequestFault, tower: str, space: str) -> Answer:
    """The answer to a probe of a tower that does not, or to a probe that was refused."""
    output = f"{fault.code}: {fault.message}"
    return _answer({"status": "fail", "serviceId": tower, "releaseId": space, "output": output}, fault.status)


def _answer(report: Mapping[str, Any], status: int) -> Answer:
    return Answer(compact(report).encode(), HEALTH, status)
