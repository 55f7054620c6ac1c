"""Streamable HTTP on this machine alone.

It listens on 127.0.0.1, and turns away what a page in a browser sends: requests whose Host or Origin is not
of this machine. Whoever else can connect may search, unless a token is asked for: other users of the machine,
and programs that are no page.
"""

from __future__ import annotations

import hmac
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from babelclip.mcp.server import ImageServer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HOST = "127.0.0.1"
PATH = "/mcp"
_SHORTEST = 16  # characters of a token


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds none that would keep anybody out.
    """
    token = path.read_text(encoding="utf-8", errors="replace").strip()
    if len(token) < _SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"{path} must hold a token: one word of at least {_SHORTEST} characters of ASCII")
    return token


def serve_http(server: ImageServer, port: int, say: Callable[[str], None], *, token: str = "") -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        port: 0 for a free one.
        say: is told the address, once connections are taken.
        token: what callers must send as `Authorization: Bearer TOKEN`; "" asks for none.

    Raises:
        OSError: the port is taken.
    """
    import uvicorn

    # No sessions: each call stands for itself, so a client may come back after a restart.
    app: ASGIApp = server.streamable_http_app(
        host=HOST, streamable_http_path=PATH, stateless_http=True, json_response=True
    )
    if token:
        app = _TokenRequired(app, token)
    with socket.create_server((HOST, port)) as listening:

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                # From here on Ctrl-C and SIGTERM end it, even where whoever started it had them ignored.
                await super().startup(sockets)
                say(f"http://{HOST}:{listening.getsockname()[1]}{PATH}")

        Server(uvicorn.Config(app, log_level="warning", ws="none")).run(sockets=[listening])


class _TokenRequired:
    """ASGI middleware: 401 for a request without the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers 401."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        shown = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        if hmac.compare_digest(shown, self._expected):
            await self._app(scope, receive, send)
            return
        headers = [(b"www-authenticate", b'Bearer realm="babelclip"'), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
