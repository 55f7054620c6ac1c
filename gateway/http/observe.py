"""Every request over HTTP in the metrics, those that are refused included."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import tracing
from gateway.metrics import Metrics, Observed
from gateway.request_log import HEADER, REQUEST_ID, take_id

# nginx's word for a caller who hung up before the answer.
CALLER_GONE = 499


class Observe:
    """ASGI middleware around all others: counts and times a request; the routes fill in what they know.

    Args:
        routes: the addresses that there are; others count together, for a caller may choose any.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Sequence[Route]) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = frozenset(route.path for route in routes if not route.param_convertors)
        self._patterns = [(route.path_regex, route.path_format) for route in routes if route.param_convertors]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, and notes its end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = take_id(Headers(scope=scope).get(HEADER, ""))
        REQUEST_ID.set(request_id)
        if tracing.is_on():
            headers = Headers(scope=scope)
            tracing.PARENT.set({name: headers[name] for name in tracing.HEADERS if name in headers})
        named = HEADER.encode(), request_id.encode()
        with self._metrics.call(self._named(scope["path"]), left=str(CALLER_GONE)) as observed:
            scope.setdefault("state", {})["observed"] = observed

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    observed.status = str(message["status"])
                    message["headers"] = [*message.get("headers", ()), named]
                await send(message)

            try:
                await self._app(scope, receive, sending)
            except Exception:
                observed.status = "500"  # Starlette answers so, outside of this.
                raise

    def _named(self, path: str) -> str:
        if path in self._paths:
            return path
        return next((named for pattern, named in self._patterns if pattern.match(path)), "other")


def observed_of(scope: Scope) -> Observed:
    """What the metrics will know of a request; to be filled in."""
    observed: Observed = scope["state"]["observed"]
    return observed
