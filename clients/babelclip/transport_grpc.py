"""gRPC: TorchServe's `Predictions` call with the wire format as its `request` entry, over grpcio."""

from __future__ import annotations

import grpc

from babelclip.errors import (
    MALFORMED_REQUEST,
    MESSAGE_TOO_LARGE,
    AuthenticationError,
    BabelclipError,
    DeadlineExceeded,
    ModelNotFound,
    ProtocolError,
    RequestRefused,
    TransportError,
    Unavailable,
)
from babelclip.torchserve import InferenceStub, bearer
from babelclip.torchserve_pb2 import PredictionsRequest
from babelclip.transport import Call

# gRPC's own limit of 4 MB is less than 256 vectors of 4,096 values with their errors. Nothing is said about
# keepalive: TorchServe closes a connection that pings more often than every five minutes.
_OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),  # The client retries, and knows what it may.
    # After a refused connection gRPC fails every call for this long without trying; a second would outlast
    # all of the client's own attempts.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5000),
)


class GrpcTransport:
    """One channel to `target` (host:port); `secure` speaks TLS with the system's certificate authorities."""

    def __init__(self, target: str, *, secure: bool = False) -> None:
        self._target = target
        self._channel = (
            grpc.secure_channel(target, grpc.ssl_channel_credentials(), options=_OPTIONS)
            if secure
            else grpc.insecure_channel(target, options=_OPTIONS)
        )
        self._stub = InferenceStub(self._channel)

    def send(self, call: Call) -> bytes:
        """See `babelclip.transport.Transport.send`."""
        request = PredictionsRequest(
            model_name=call.model, model_version=call.version or "", input={"request": call.body}
        )
        try:
            response = self._stub.Predictions(request, timeout=call.timeout, metadata=bearer(call.token))
        except grpc.RpcError as error:
            raise _refusal(error, call, self._target) from error
        return response.prediction

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()


def _refusal(error: grpc.RpcError, call: Call, target: str) -> BabelclipError:
    """A gRPC status → what TorchServe, or a proxy before it, meant by it.

    TorchServe has one status for nearly everything, INTERNAL, and tells what it is in the details: a
    sentence, then the name of a Java exception.
    """
    assert isinstance(error, grpc.Call)
    status, details = error.code(), error.details() or ""
    sentence = details.partition("\n")[0] or status.name
    if status in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
        return AuthenticationError(f"{target} refused the token: {sentence}")
    if status is grpc.StatusCode.NOT_FOUND or "NotFoundException" in details:
        return ModelNotFound(sentence)
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"no complete answer from {target} within {call.timeout:.3g} s")
    if status is grpc.StatusCode.UNAVAILABLE:
        return Unavailable(f"no answer from {target}: {sentence}")
    if status is grpc.StatusCode.INTERNAL and "has no worker" in sentence:
        return Unavailable(f"{target} has no free worker: {sentence}")
    # RESOURCE_EXHAUSTED: killed, as for want of memory.
    died = status in (grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED)
    if died and sentence.startswith("Worker died"):
        return Unavailable(f"the worker at {target} died while it computed the request", retryable=False)
    if status is grpc.StatusCode.CANCELLED:
        # All that is heard of a message over TorchServe's max_request_size.
        return RequestRefused(
            MESSAGE_TOO_LARGE,
            f"{target} dropped a message of {len(call.body):,} bytes, as it does above its max_request_size;"
            " lower max_message_bytes or raise that limit",
        )
    if status is grpc.StatusCode.INVALID_ARGUMENT or "BadRequestException" in details:
        return RequestRefused(MALFORMED_REQUEST, sentence)
    if status is grpc.StatusCode.UNIMPLEMENTED:
        return ProtocolError(f"{target} has no Predictions call; is it TorchServe's gRPC inference port?")
    return TransportError(f"{target} failed: {status.name}: {sentence}")
