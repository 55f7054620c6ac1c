"""gRPC: TorchServe's `Predictions` call with the wire format as its `request` entry, over grpcio."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

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
from babelclip.transports.base import Call, Tls, other_loop
from babelclip.transports.proxies import grpc_options
from babelclip.transports.torchserve import InferenceStub, bearer
from babelclip.transports.torchserve_pb2 import PredictionsRequest

# Load balancers and NATs forget a silent connection after some minutes without a word; every call on it then
# runs into its deadline, for a quarter of an hour. So it is closed before, and the next call opens another.
IDLE_SECONDS = 60

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
    """One channel to `target` (host:port); `secure` speaks TLS, by default with the system's authorities."""

    def __init__(self, target: str, *, secure: bool = False, tls: Tls | None = None) -> None:
        self._target = target
        options = _options(target)
        self._channel = (
            grpc.secure_channel(target, _credentials(tls), options=options)
            if secure
            else grpc.insecure_channel(target, options=options)
        )
        self._stub = InferenceStub(self._channel)

    def send(self, call: Call) -> bytes:
        """See `babelclip.transports.base.Transport.send`."""
        try:
            response = self._stub.Predictions(
                _request(call), timeout=call.timeout, metadata=(*bearer(call.token), *call.sent_headers)
            )
        except grpc.RpcError as error:
            raise _refusal(error, call, self._target) from error
        return response.prediction

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()


class AsyncGrpcTransport:
    """`GrpcTransport` for an event loop; used within one alone, and connected with the first call."""

    def __init__(self, target: str, *, secure: bool = False, tls: Tls | None = None) -> None:
        self._target = target
        self._credentials = _credentials(tls) if secure else None
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def send(self, call: Call) -> bytes:
        """See `babelclip.transports.base.Transport.send`."""
        loop = asyncio.get_running_loop()
        if self._channel is None:  # Made here, because it belongs to the loop that runs when it is made.
            self._loop = loop
            options = _options(self._target)
            self._channel = (
                grpc.aio.insecure_channel(self._target, options=options)
                if self._credentials is None
                else grpc.aio.secure_channel(self._target, self._credentials, options=options)
            )
            channel: Any = self._channel
            self._stub = InferenceStub(channel)
        if self._loop is not loop:
            raise other_loop()
        try:
            response = await self._stub.Predictions(
                _request(call), timeout=call.timeout, metadata=(*bearer(call.token), *call.sent_headers)
            )
        except grpc.RpcError as error:
            raise _refusal(error, call, self._target) from error
        prediction: bytes = response.prediction
        return prediction

    async def close(self) -> None:
        """Closes the channel."""
        if self._channel is not None and self._loop is asyncio.get_running_loop():
            await self._channel.close()


def _options(target: str) -> tuple[tuple[str, int], ...]:
    return (*_OPTIONS, ("grpc.client_idle_timeout_ms", IDLE_SECONDS * 1000), *grpc_options(target))


def _request(call: Call) -> PredictionsRequest:
    return PredictionsRequest(
        model_name=call.model, model_version=call.version or "", input={"request": call.body}
    )


def _credentials(tls: Tls | None) -> grpc.ChannelCredentials:
    def read(path: str | os.PathLike[str] | None) -> bytes | None:
        try:
            return None if path is None else Path(path).read_bytes()
        except OSError as error:
            raise ValueError(f"TLS: cannot read {path}: {error.strerror}") from error

    given = tls or Tls()
    return grpc.ssl_channel_credentials(
        read(given.ca_file), read(given.key_file), read(given.certificate_file)
    )


def _refusal(error: grpc.RpcError, call: Call, target: str) -> BabelclipError:
    """A gRPC status → what TorchServe, or a proxy before it, meant by it.

    TorchServe has one status for nearly everything, INTERNAL, and says what it is in the details: a
    sentence, then the name of a Java exception.
    """
    assert isinstance(error, grpc.Call | grpc.aio.AioRpcError)
    status, details = error.code(), error.details() or ""
    sentence = details.partition("\n")[0] or status.name
    if status in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
        return AuthenticationError(f"{target} refused the token: {sentence}")
    if status is grpc.StatusCode.NOT_FOUND or "NotFoundException" in details:
        return ModelNotFound(sentence)
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"no complete answer from {target} within {call.limit}")
    if status is grpc.StatusCode.UNAVAILABLE:
        return Unavailable(f"no answer from {target}: {sentence}")
    if status is grpc.StatusCode.INTERNAL and "has no worker" in sentence:
        return Unavailable(f"{target} has no free worker: {sentence}")
    # RESOURCE_EXHAUSTED: killed, as for want of memory.
    died = status in (grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED)
    if died and sentence.startswith("Worker died"):
        return Unavailable(f"the worker at {target} died while it computed the request", retryable=False)
    if status is grpc.StatusCode.CANCELLED or "larger than max" in sentence:
        # CANCELLED is all that TorchServe says of a message above its max_request_size; proxies say more.
        return RequestRefused(
            MESSAGE_TOO_LARGE,
            f"{target} dropped a message of {len(call.body):,} bytes, as it does above its max_request_size;"
            " lower max_message_bytes or raise that limit",
        )
    if (
        status is grpc.StatusCode.RESOURCE_EXHAUSTED
    ):  # What is 429 over HTTP: a gateway that says to come again.
        return Unavailable(f"{target} has no room for more: {sentence}")
    if status is grpc.StatusCode.INVALID_ARGUMENT or "BadRequestException" in details:
        return RequestRefused(MALFORMED_REQUEST, sentence)
    if status is grpc.StatusCode.UNIMPLEMENTED:
        return ProtocolError(f"{target} has no Predictions call; is it TorchServe's gRPC inference port?")
    return TransportError(f"{target} failed: {status.name}: {sentence}")
