"""TorchServe's `Predictions` call with babelclip's wire format, as `babelclip.Client` makes it over gRPC."""

from __future__ import annotations

from typing import Any

import grpc

from babelclip.transports.torchserve import INFERENCE
from babelclip.transports.torchserve_pb2 import PredictionResponse, PredictionsRequest
from gateway import wire_format
from gateway.errors import ApiError, malformed
from gateway.metrics import Metrics, Observed
from gateway.models import Models
from gateway.rpc.service import CALLER, LEFT, refuse
from gateway.rpc.status import Context

SERVICE = INFERENCE


class Predictions:
    """One call: an EmbedRequest for one tower → an EmbedResponse."""

    def __init__(self, models: Models, max_items: int, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics
        self._max_items = max_items

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """The call by its name."""
        return {
            "Predictions": grpc.unary_unary_rpc_method_handler(
                self.predict,
                request_deserializer=PredictionsRequest.FromString,
                response_serializer=PredictionResponse.SerializeToString,
            )
        }

    async def predict(self, request: PredictionsRequest, context: Context) -> PredictionResponse:
        """One request, one answer."""
        with self._metrics.call("Predictions", left=LEFT) as observed:
            try:
                prediction = await self._predict(request, context.time_remaining(), observed)
            except Exception as error:
                refused = wire_format.refusal(error) if isinstance(error, ApiError) else None
                if refused is None:
                    await refuse(context, error, observed)
                observed.status, prediction = "OK", refused
            return PredictionResponse(prediction=prediction)

    async def _predict(self, request: PredictionsRequest, timeout: float | None, observed: Observed) -> bytes:
        observed.key = CALLER.get()
        if "request" not in request.input:
            raise malformed('"input" must hold a serialized EmbedRequest as "request"')
        chosen = wire_format.find(self._models, request.model_name, request.model_version or None)
        observed.model = chosen.name
        tower = wire_format.tower_of(request.model_name)
        asked = wire_format.read(request.input["request"], tower, self._max_items)
        version, outcomes = await wire_format.answer(chosen, asked, timeout)
        self._metrics.items(chosen.name, asked.items, outcomes)
        observed.status = "OK"
        return wire_format.render(version, outcomes, canary=asked.canary)
