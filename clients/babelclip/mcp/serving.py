"""Streamable HTTP on this machine alone.

Whoever can connect may search, so it listens on 127.0.0.1, and turns away what a page in a browser sends:
requests whose Host or Origin is not of this machine.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from babelclip.mcp.server import ImageServer

HOST = "127.0.0.1"
PATH = "/mcp"


def serve_http(server: ImageServer, port: int, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        port: 0 for a free one.
        say: is told the address, once connections are taken.

    Raises:
        OSError: the port is taken.
    """
    import uvicorn

    # No sessions: each call stands for itself, so a client may come back after a restart.
    app = server.streamable_http_app(
        host=HOST, streamable_http_path=PATH, stateless_http=True, json_response=True
    )
    with socket.create_server((HOST, port)) as listening:
        say(f"http://{HOST}:{listening.getsockname()[1]}{PATH}")
        uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none")).run(sockets=[listening])
