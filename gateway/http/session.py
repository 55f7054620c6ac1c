"""Whose request a request over HTTP is, for a share of the traffic."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.http.observe import observed_of
from gateway.session import HEADER, SESSION

_HEADER = HEADER.encode()


class Session:
    """ASGI middleware, inside of the guard: notes the header of the session, or else the key's name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on."""
        if scope["type"] == "http":
            named = next((value for name, value in scope["headers"] if name == _HEADER), b"")
            SESSION.set(named.decode("latin-1") or observed_of(scope).key)
        await self._app(scope, receive, send)
