"""Streams that nobody needs a key for are bounded in their number: each may stay open for ever.

These are the health service's Watch and the reflection service; a caller could otherwise open as many as it
takes to fill the memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from gateway.errors import ApiError
from gateway.rpc.status import Context, abort

if TYPE_CHECKING:
    _Handler = grpc.RpcMethodHandler[Any, Any]  # a class without parameters when it runs

MOST = 1000
"""Such streams of all callers together."""


class OpenStreams(grpc.aio.ServerInterceptor):
    """Refuses a stream of these services where there are as many already.

    Args:
        prefixes: what the names of their methods begin with.
    """

    def __init__(self, prefixes: tuple[str, ...], most: int = MOST) -> None:
        self._prefixes = prefixes
        self._most = most
        self._open: set[asyncio.Task[Any]] = set()

    def end(self) -> None:
        """Break those off that are open: they would keep the process for as long as it waits for calls."""
        for task in self._open:
            task.cancel()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """The call's own handler, which counts where it is such a stream."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler.response_streaming:
            return handler
        if not handler_call_details.method.startswith(self._prefixes):
            return handler
        return self._counted(handler)

    def _counted(self, handler: _Handler) -> _Handler:
        behaviour: Any = handler.stream_stream if handler.request_streaming else handler.unary_stream

        async def yielding(request: Any, context: Context) -> Any:
            await self._check(context)
            with self._counting():
                async for answer in behaviour(request, context):
                    yield answer

        make: Any = grpc.unary_stream_rpc_method_handler
        if handler.request_streaming:
            make = grpc.stream_stream_rpc_method_handler
        made: _Handler = make(yielding, handler.request_deserializer, handler.response_serializer)
        return made

    async def _check(self, context: Context) -> None:
        if len(self._open) >= self._most:
            message = f"{self._most:,} such streams are open already, and no more are without a key"
            await abort(context, ApiError(429, "too_many_streams", message, retry_after=10))

    @contextmanager
    def _counting(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            yield
        finally:
            self._open.discard(task)
