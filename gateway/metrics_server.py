"""Where Prometheus reads: the gateway's own metrics, and those of the engine that it stands before.

    /metrics           the gateway's
    /metrics/engine    the engine's own, where `engine_metrics` says where they are
    /metrics/queues    those of the engine's queues, where `queue_metrics` does

TorchServe and the exporter of its queues listen on loopback. What stands there is read for whoever asks for
it here, so that one port can be opened to a Prometheus of another machine while they stay closed. No query
and no other address is passed on.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterable
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import httpx
from prometheus_client import CollectorRegistry, make_wsgi_app

from gateway.settings import LOOPBACK, Settings

OWN = "/metrics"
ENGINE = "/metrics/engine"
QUEUES = "/metrics/queues"

_AT_ONCE = 32  # connections; Prometheus has one for each address
_SECONDS = 10.0  # without a byte, after which a connection is closed
_ENGINE_SECONDS = 5.0  # for the engine to tell its metrics; Prometheus gives up after ten
_LOOKS = 0.05  # seconds between two looks whether it is to end
_PLAIN = [("Content-Type", "text/plain; charset=utf-8")]


class MetricsServer:
    """Serves metrics from its making to `close`, in threads of its own.

    Args:
        registry: the gateway's own.
        host, port: where it listens; port 0 takes a free one.
        engine, queues: the addresses of the engine's metrics; "" for none.

    Raises:
        OSError: the address is none of this machine, or the port is taken; the message names both.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        port: int,
        host: str = LOOPBACK,
        *,
        engine: str = "",
        queues: str = "",
    ) -> None:
        application = _application(make_wsgi_app(registry), {ENGINE: engine, QUEUES: queues})
        try:
            self._server = _Server(host, port, application)
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"cannot listen on {host} port {port} for metrics: {reason}") from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_LOOKS,), daemon=True)
        self._thread.start()
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{self._server.server_port}{OWN}"

    @classmethod
    def of(cls, registry: CollectorRegistry, settings: Settings) -> MetricsServer:
        """The one that the settings ask for.

        Raises:
            OSError: as above.
        """
        return cls(
            registry,
            settings.metrics_port,
            settings.metrics_host,
            engine=settings.engine_metrics,
            queues=settings.queue_metrics,
        )

    def close(self) -> None:
        """Ends the thread and frees the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(WSGIRequestHandler):
    timeout = _SECONDS

    def log_message(self, *_: object) -> None:
        """Says nothing of scrapes."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread for each connection, and a bound on how many there are."""

    daemon_threads = True

    def __init__(self, host: str, port: int, application: WSGIApplication) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__((host, port), _Handler)
        self.set_app(application)

    def server_bind(self) -> None:
        """As HTTPServer does, but without asking DNS for the name of the address."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def process_request(self, request, client_address) -> None:  # type: ignore[no-untyped-def]
        """Takes a connection, or closes it where there are too many."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request, client_address) -> None:  # type: ignore[no-untyped-def]
        """What each thread does."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request, client_address) -> None:  # type: ignore[no-untyped-def]
        """Whoever hangs up in the middle of an answer is no error of ours."""


def _application(own: WSGIApplication, relayed: dict[str, str]) -> WSGIApplication:
    """What answers each address."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path in (OWN, "/"):
            return own(environ, start_response)
        if environ["REQUEST_METHOD"] != "GET":
            return _say(start_response, "405 Method Not Allowed", "metrics are read by GET")
        if address := relayed.get(path, ""):
            return _relay(address, start_response)
        known = ", ".join([OWN, *(one for one, address in relayed.items() if address)])
        return _say(start_response, "404 Not Found", f"there is {known}")

    return application


def _relay(address: str, start_response: StartResponse) -> Iterable[bytes]:
    secure = address.startswith("https:")  # else to read whom TLS trusts would cost each scrape 30 ms
    try:
        answer = httpx.get(address, timeout=_ENGINE_SECONDS, trust_env=False, verify=secure)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        return _say(start_response, "503 Service Unavailable", f"the engine tells nothing: {error}")
    start_response("200 OK", [("Content-Type", answer.headers.get("content-type", _PLAIN[0][1]))])
    return [answer.content]


def _say(start_response: StartResponse, status: str, sentence: str) -> Iterable[bytes]:
    start_response(status, list(_PLAIN))
    return [f"{sentence}\n".encode()]
