"""gRPC's standard health service (grpc.health.v1): whether the gateway serves, asked once or watched.

That of grpcio-health-checking holds a lock while it writes to who watches: one who does not read would keep
the state from ever changing again, and needs no key for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.rpc.status import Context

_Response = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # It has no types.
    """The states of services by their names; "" is the server itself. Used within one event loop."""

    def __init__(self, services: Iterable[str]) -> None:
        self._states = dict.fromkeys(services, _Response.NOT_SERVING)
        self._changed = asyncio.Event()
        self._is_over = False

    def set(self, *, ready: bool) -> None:
        """What is said of all services from now on; nothing changes after the end."""
        if not self._is_over:
            self._tell(_Response.SERVING if ready else _Response.NOT_SERVING)

    def end(self) -> None:
        """From now on they do not serve."""
        self.set(ready=False)
        self._is_over = True

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> Any:
        """The state of a service; NOT_FOUND where there is none of that name."""
        state = self._states.get(request.service)
        if state is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no service of this name")
        return _Response(status=state)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> AsyncIterator[Any]:
        """The state now, and whenever it is another than was told last, until the end."""
        told = None
        while True:
            changed = self._changed
            state = self._states.get(request.service, _Response.SERVICE_UNKNOWN)
            if state != told:
                told = state
                yield _Response(status=state)
            elif self._is_over:
                return  # A stream that went on would keep the process.
            else:
                await changed.wait()

    def _tell(self, state: Any) -> None:
        self._states = dict.fromkeys(self._states, state)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
