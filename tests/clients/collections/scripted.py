"""An HTTP server that answers as it is told, for what no gateway does when it is asked for."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Scripted:
    """Gives its answers in their order; after the last one, that one again.

    Attributes:
        url: where it listens.
        answers: (status, body, headers); a body that is no bytes is sent as JSON. None closes the connection
            without an answer.
        requests: (method, path, token, JSON of the body) of what was asked.
    """

    def __init__(self) -> None:
        self.url = ""
        self.answers: deque[tuple[int, Any, dict[str, str]] | None] = deque()
        self.requests: list[tuple[str, str, str | None, Any]] = []

    def will(self, status: int, body: Any = b"", **headers: str) -> None:
        """One more answer; underscores in names of headers are dashes."""
        self.answers.append((status, body, {name.replace("_", "-"): text for name, text in headers.items()}))

    def fails(self, status: int, code: str, message: str = "so it is", **headers: str) -> None:
        """One more answer, that of a gateway that refuses."""
        self.will(status, {"error": {"code": code, "message": message}}, **headers)

    def breaks(self) -> None:
        """One more connection that is closed without an answer."""
        self.answers.append(None)


@contextlib.contextmanager
def scripted() -> Iterator[Scripted]:
    """A server on a free port of this machine."""
    server = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            data = self.rfile.read(int(self.headers.get("content-length") or 0))
            token = self.headers.get("authorization")
            server.requests.append((self.command, self.path, token, json.loads(data or b"null")))
            told = server.answers.popleft() if len(server.answers) > 1 else server.answers[0]
            if told is None:
                self.close_connection = True
                return
            status, body, headers = told
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, text in ({"content-length": str(len(sent))} | headers).items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, format: str, *args: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server.url = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()
