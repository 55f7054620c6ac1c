"""What stands behind a proxy in its tests: gateways in name only, which say who they are by HTTP and gRPC."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc

from deploy.haproxy.endpoints import Endpoint

EMBED = "/babelclip.v1.Embedder/Embed"


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """The proxy hangs up when it has read the status of a check."""


class StandIn:
    """One replica.

    Attributes:
        ready: what it answers to /readyz.
        mute: hangs up in place of an answer to every other request.
        asked: the paths of the requests that came, other than /readyz.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = True
        self.mute = False
        self.asked: list[str] = []
        self._http = _Server(("127.0.0.1", 0), self._handler())
        self._threads = ThreadPoolExecutor(4)
        self._grpc = grpc.server(self._threads, handlers=[_Echo(self)])
        self._port = self._grpc.add_insecure_port("127.0.0.1:0")
        self._serving = threading.Thread(target=self._http.serve_forever, args=(0.02,))

    @property
    def endpoint(self) -> Endpoint:
        """Where the proxy finds it."""
        return Endpoint(self.name, "127.0.0.1", self._http.server_address[1], self._port)

    def start(self) -> None:
        """Begin to answer."""
        self._serving.start()
        self._grpc.start()

    def close(self) -> None:
        """End."""
        self._http.shutdown()
        self._serving.join()
        self._http.server_close()
        self._grpc.stop(None).wait()
        self._threads.shutdown()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/readyz":
                    self._answer(200 if stand_in.ready else 503)
                else:
                    self.do_POST()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                stand_in.asked.append(self.path)
                if stand_in.mute:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                else:
                    self._answer(200)

            def _answer(self, status: int) -> None:
                body = stand_in.name.encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class _Echo(grpc.GenericRpcHandler):
    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            self._stand_in.asked.append(details.method)
            return self._stand_in.name.encode()

        return grpc.unary_unary_rpc_method_handler(answer)


@contextlib.contextmanager
def stand_ins(*names: str) -> Iterator[list[StandIn]]:
    """Those of these names, until the end."""
    with contextlib.ExitStack() as opened:
        made = []
        for name in names:
            stand_in = StandIn(name)
            stand_in.start()
            opened.callback(stand_in.close)
            made.append(stand_in)
        yield made
