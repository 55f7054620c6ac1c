"""Who may call over HTTP: a bearer token that is one of the callers' keys, before anything else is read."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import ApiError
from gateway.http.answers import refusal
from gateway.http.observe import observed_of
from gateway.keys import FindKey

# Every address that is not named here needs a key, so that a new one cannot be forgotten.
OPEN = frozenset(
    {"/healthz", "/livez", "/readyz", "/openapi.json", "/docs", "/v2/health/live", "/v2/health/ready"}
)


class Guard:
    """ASGI middleware: health and the description of the calls are open, all else needs a key.

    Args:
        find: a key → the name of the caller, None for a key that is none.
    """

    def __init__(self, app: ASGIApp, find: FindKey) -> None:
        self._app = app
        self._find = find

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or answers 401."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            message = "this call needs a key, sent as Authorization: Bearer KEY"
            response = _unauthorized(scope, message, 'Bearer realm="babelclip"')
        elif (name := self._find(key)) is None:
            message = "the key is wrong or was revoked"
            response = _unauthorized(scope, message, 'Bearer realm="babelclip", error="invalid_token"')
        else:
            observed_of(scope).key = name
            await self._app(scope, receive, send)
            return
        await response(scope, receive, send)


def _unauthorized(scope: Scope, message: str, challenge: str) -> Response:
    error = ApiError(401, "invalid_api_key", message)
    return refusal(error, {"WWW-Authenticate": challenge}, path=scope["path"])
