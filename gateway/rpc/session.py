"""Whose call a call over gRPC is, for a share of the traffic."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from gateway.rpc.service import CALLER
from gateway.session import HEADER, SESSION

if TYPE_CHECKING:
    _Handler = grpc.RpcMethodHandler[Any, Any]  # a class without parameters when it runs


class Session(grpc.aio.ServerInterceptor):
    """After the guard: notes the session of the metadata, or else the key's name."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Passes a call on."""
        named = dict(handler_call_details.invocation_metadata or ()).get(HEADER, "")
        SESSION.set((named if isinstance(named, str) else named.decode("latin-1")) or CALLER.get())
        return await continuation(handler_call_details)
