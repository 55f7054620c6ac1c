"""Messages that are none: the caller's fault, which gRPC by itself reports as one of the server's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from gateway.errors import MALFORMED_REQUEST, ApiError
from gateway.metrics import Metrics
from gateway.rpc.status import Context, abort, code_of

if TYPE_CHECKING:
    _Handler = grpc.RpcMethodHandler[Any, Any]  # a class without parameters when it runs


def refusing_malformed(handlers: dict[str, _Handler], metrics: Metrics) -> dict[str, _Handler]:
    """The same handlers, but bytes that are no message of theirs are INVALID_ARGUMENT."""
    return {name: _refusing(name, handler, metrics) for name, handler in handlers.items()}


def _refusing(name: str, handler: _Handler, metrics: Metrics) -> _Handler:
    reads = _reading(handler.request_deserializer)
    writes = handler.response_serializer
    if handler.request_streaming:
        if handler.stream_stream is None:
            raise TypeError(f"{name}: a stream of requests must have a stream of answers")
        behaviour: Any = handler.stream_stream  # Typed for threads; here it is awaited.

        async def stream(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            async for answer in behaviour(_whole(requests), context):
                yield answer

        return grpc.stream_stream_rpc_method_handler(stream, reads, writes)
    if handler.unary_unary is None:
        raise TypeError(f"{name}: one request must have one answer")
    answers: Any = handler.unary_unary

    async def unary(request: Any, context: Context) -> Any:
        if isinstance(request, ApiError):
            with metrics.call(name, left=code_of(request).name):
                await abort(context, request)
        return await answers(request, context)

    return grpc.unary_unary_rpc_method_handler(unary, reads, writes)


def _reading(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    assert parse is not None
    parsing = parse

    def read(data: bytes) -> Any:
        """The message, or the error of bytes that are none; raised here, it would be gRPC's to report."""
        try:
            return parsing(data)
        except DecodeError:
            message = "the request is no message of this call, or a text in it is no UTF-8"
            return ApiError(400, MALFORMED_REQUEST, message)

    return read


async def _whole(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        if isinstance(request, ApiError):
            raise request
        yield request
