"""Callers of a gateway that asks for no key: programs of this machine, and no page of another site.

A browser on this machine runs what strangers wrote. Such a page could call a loopback port by a name of its
own that it lets mean 127.0.0.1 (DNS rebinding), and then read what comes back; or send a form there without
reading anything. The first names another host than ours, the second another origin, and both are refused.
Where keys are asked for neither has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import ApiError
from gateway.http.answers import refusal
from gateway.settings import is_loopback


class LocalCallers:
    """ASGI middleware: a request must be to this machine by name, and from a page only of this very address.

    Args:
        hosts: further names under which the gateway may be called, without a port.
        origins: of pages that may call all the same; "*" for all of them.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str], origins: Sequence[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers 421 or 403."""
        if scope["type"] == "http" and (error := self._wrong(Headers(scope=scope))) is not None:
            await refusal(error, path=scope["path"])(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _wrong(self, headers: Headers) -> ApiError | None:
        host = headers.get("host")
        if host is not None and not self._is_ours(host):
            message = (
                "the gateway is not called by this host's name; its operator can allow it in allowed_hosts"
            )
            return ApiError(421, "host_not_allowed", message)
        origin = headers.get("origin")
        if origin is None or origin in self._origins or "*" in self._origins:
            return None
        if host is not None and origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return None
        message = "pages of this origin may not call the gateway; its operator can allow it in cors_origins"
        return ApiError(403, "origin_not_allowed", message)

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return is_loopback(name) or name in self._hosts
