"""TorchServe's gRPC calls as typed functions, without TorchServe's stubs.

    channel = grpc.insecure_channel("127.0.0.1:7071")
    management = ManagementStub(channel)
    management.ListModels(ListModelsRequest(limit=100), metadata=bearer(token), timeout=5.0)

The messages are in `babelclip.transports.torchserve_pb2`; torchserve.proto says why they have a package of
their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from google.protobuf.empty_pb2 import Empty

from babelclip.transports import torchserve_pb2 as pb

if TYPE_CHECKING:
    import grpc

INFERENCE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"
MANAGEMENT = "org.pytorch.serve.grpc.management.ManagementAPIsService"


class _Message(Protocol):
    def SerializeToString(self) -> bytes: ...


_Request = TypeVar("_Request", bound=_Message)
_Response = TypeVar("_Response")


def bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    """The metadata that carries a token; empty for None."""
    return () if token is None else (("authorization", f"Bearer {token}"),)


def _method(
    channel: grpc.Channel, path: str, request: type[_Request], response: type[_Response]
) -> grpc.UnaryUnaryMultiCallable[_Request, _Response]:
    parse: Any = response
    return channel.unary_unary(
        path, request_serializer=request.SerializeToString, response_deserializer=parse.FromString
    )


class InferenceStub:
    """Inference calls over a channel (port 7070), each `(request, *, timeout, metadata) → response`.

    Streaming is left out: a stream to an ordinary model kills its worker.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self.Ping = _method(channel, f"/{INFERENCE}/Ping", Empty, pb.TorchServeHealthResponse)
        self.Predictions = _method(
            channel, f"/{INFERENCE}/Predictions", pb.PredictionsRequest, pb.PredictionResponse
        )


class ManagementStub:
    """Management calls over a channel (port 7071); every answer's `msg` is JSON or a sentence.

    Registering and unregistering are asynchronous unless asked otherwise, and unregistering is not graceful.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        def call(
            name: str, request: type[_Request]
        ) -> grpc.UnaryUnaryMultiCallable[_Request, pb.ManagementResponse]:
            return _method(channel, f"/{MANAGEMENT}/{name}", request, pb.ManagementResponse)

        self.DescribeModel = call("DescribeModel", pb.DescribeModelRequest)
        self.ListModels = call("ListModels", pb.ListModelsRequest)
        self.RegisterModel = call("RegisterModel", pb.RegisterModelRequest)
        self.ScaleWorker = call("ScaleWorker", pb.ScaleWorkerRequest)
        self.SetDefault = call("SetDefault", pb.SetDefaultRequest)
        self.UnregisterModel = call("UnregisterModel", pb.UnregisterModelRequest)
