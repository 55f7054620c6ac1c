"""Whether a tower works, proved by its self-test: an input that came with the archive, and its vector.

TorchServe answers /ping while workers crash. This is asked of the tower itself and takes the way of every
request, through the queue and the program; a worker that is gone is TorchServe's own error within seconds.

    HTTP       GET /predictions/MODEL with Accept: application/health+json
    protobuf   EmbedRequest.canary, over HTTP or gRPC, which is of the native dialect

The JSON follows draft-inadarei-api-health-check: {"status":"pass","serviceId":"text","releaseId":SPACE,
"notes":["cpu float32 onnxruntime"]}. The note says what the worker computes by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handlers.config import Settings, TowerMeta
from handlers.errors import RequestError
from handlers.outcomes import Outcome
from handlers.protocol.dialects.base import Content, Dialect
from handlers.protocol.envelope import Envelope
from handlers.protocol.rendering import Response, compact

HEALTH = "application/health+json"


class Health(Dialect):
    """A probe over HTTP, recognised by its Accept header."""

    any_request = True

    def matches(self, envelope: Envelope) -> bool:
        """Where the Accept header names the media type of health checks."""
        return HEALTH in envelope.accept

    def read(self, envelope: Envelope, meta: TowerMeta, settings: Settings) -> Content:
        """The tower's self-test."""
        return Content(meta.self_test)

    def render(self, envelope: Envelope, outcomes: Sequence[Outcome], meta: TowerMeta) -> Response:
        """The response to a probe of a tower that works."""
        return _response(meta, {"status": "pass"}, {"notes": [meta.numerics]}, status=200)

    def refuse(self, envelope: Envelope, error: RequestError, meta: TowerMeta) -> Response:
        """The response to a probe of a tower that does not work, or that has no time for it."""
        output = f"{error.code}: {error.message}"
        return _response(meta, {"status": "fail"}, {"output": output}, status=error.status)


def _response(meta: TowerMeta, head: Mapping[str, Any], tail: Mapping[str, Any], *, status: int) -> Response:
    report = {**head, "serviceId": meta.tower, "releaseId": meta.space, **tail}
    return Response(compact(report).encode(), HEALTH, status)
