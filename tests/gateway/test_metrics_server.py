"""The port of metrics: the gateway's own, and those of an engine that listens on loopback alone."""

import contextlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge

from gateway import metrics_server
from gateway.metrics_server import ENGINE, OWN, QUEUES, MetricsServer
from gateway.settings import Settings, SettingsError
from tests.e2e.support import PATIENCE
from tests.gateway.engine import Engine
from tests.gateway.front import gateway

KIND = "text/plain; version=0.0.4; charset=utf-8"


class Exposition(http.server.BaseHTTPRequestHandler):
    """What TorchServe does: metrics at one address, and much else that nobody is to reach."""

    asked: list[str]

    def do_GET(self) -> None:
        """Answers, and notes what was asked for."""
        self.asked.append(self.path)
        self.send_response(200 if self.path == "/metrics" else 404)
        self.send_header("Content-Type", KIND)
        self.end_headers()
        self.wfile.write(b"QueueTime_count 3\n")

    def log_message(self, *_: object) -> None:
        """Nothing is printed in a test."""


@contextlib.contextmanager
def engine() -> Iterator[tuple[str, list[str]]]:
    """The address of an engine's metrics, and what it has been asked."""
    asked: list[str] = []
    handler = type("Handler", (Exposition,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/metrics", asked
        finally:
            server.shutdown()
            thread.join(PATIENCE)


@contextlib.contextmanager
def served(host: str = "127.0.0.1", **relayed: str) -> Iterator[str]:
    """The address of the port of a gateway's metrics, which count to 7."""
    registry = CollectorRegistry()
    Gauge("own", "A metric of the gateway", registry=registry).set(7)
    server = MetricsServer(registry, 0, host, **relayed)
    try:
        yield server.address.removesuffix(OWN)
    finally:
        server.close()


def get(address: str) -> httpx.Response:
    """One scrape."""
    return httpx.get(address, timeout=PATIENCE, trust_env=False)


def test_the_engines_metrics_are_had_through_the_gateway() -> None:
    """One port can be opened while TorchServe stays on loopback; each address has its own series."""
    with engine() as (address, asked), served(engine=address) as port:
        own, others = get(f"{port}{OWN}"), get(f"{port}{ENGINE}?name[]=x&url=http://elsewhere")
        assert own.text.splitlines()[-1] == "own 7.0"
        assert others.text == "QueueTime_count 3\n"
        assert others.headers["content-type"] == KIND
        assert "own" not in others.text
        assert "QueueTime" not in own.text
    assert asked == ["/metrics"], "no query is passed on"


@pytest.mark.parametrize(
    "path", [QUEUES, "/models", "/metrics/engine/../../models", "/metrics/", "/favicon.ico"]
)
def test_nothing_else_is_reached(path: str) -> None:
    """What is not known, or not there, is said to be so; the engine's other addresses are not tried."""
    with engine() as (address, asked), served(engine=address) as port:
        host, _, number = port.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(number)), PATIENCE) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = connection.makefile("rb").read().decode()
    assert answer.startswith("HTTP/1.0 404 ")
    assert answer.endswith(f"there is {OWN}, {ENGINE}\n")
    assert not asked


def test_only_reading_is_possible() -> None:
    """Prometheus reads; nothing is sent to the engine in its place."""
    with engine() as (address, asked), served(engine=address) as port:
        for path in (OWN, ENGINE):
            assert httpx.post(f"{port}{path}", content=b"x", timeout=PATIENCE).status_code == 405
    assert not asked


def test_an_engine_that_is_away_is_a_failed_scrape() -> None:
    """Prometheus counts the target as down, and an alert says so; the gateway's own are still there."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/metrics"
    with served(engine=address, queues=address) as port:
        for path in (ENGINE, QUEUES):
            answer = get(f"{port}{path}")
            assert answer.status_code == 503
            assert answer.text.startswith("the engine tells nothing")
        assert get(f"{port}{OWN}").status_code == 200


def test_an_engine_that_refuses_is_a_failed_scrape() -> None:
    """An error page of the engine is not taken for its metrics."""
    with engine() as (address, _), served(engine=f"{address}/wrong") as port:
        assert get(f"{port}{ENGINE}").status_code == 503


def test_whoever_holds_connections_cannot_take_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection too many is closed at once, and there is room again when others end."""
    monkeypatch.setattr(metrics_server, "_AT_ONCE", 2)
    with served() as port, contextlib.ExitStack() as held:
        host, _, number = port.removeprefix("http://").partition(":")
        for _ in range(2):
            connection = held.enter_context(socket.create_connection((host, int(number)), PATIENCE))
            connection.sendall(b"GET /metrics HTTP/1.0\r\n")
        with socket.create_connection((host, int(number)), PATIENCE) as third:
            assert third.recv(1) == b"", "it was not closed"
        held.close()
        while True:
            try:
                answer = get(f"{port}{OWN}")
            except httpx.TransportError:
                continue  # The threads of those that have gone are about to end.
            assert answer.status_code == 200
            break


def test_it_listens_on_the_address_that_is_set(tmp_path: Path) -> None:
    """In a pod Prometheus comes from another one: the port is open there, and HTTP's stays where it was."""
    with engine() as (address, _):
        settings = {"metrics_host": "0.0.0.0", "engine_metrics": address, "queue_metrics": address}
        with gateway(Engine(), tmp_path, **settings) as front:
            assert front.addresses.metrics.startswith("http://0.0.0.0:")
            assert front.addresses.http.startswith("http://127.0.0.1:")
            port = front.addresses.metrics.replace("0.0.0.0", "127.0.0.2").removesuffix(OWN)
            assert "babelclip_gateway_answers_total" in get(f"{port}{OWN}").text
            for path in (ENGINE, QUEUES):
                assert get(f"{port}{path}").text == "QueueTime_count 3\n"


def test_it_listens_on_loopback_of_version_6() -> None:
    """A pod may have addresses of version 6 alone."""
    if not socket.has_ipv6:
        pytest.skip("there is no IPv6 here")
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        pytest.skip("there is no IPv6 here")
    with served("::1") as port:
        assert port.startswith("http://[::1]:")
        assert get(f"{port}{OWN}").status_code == 200


@pytest.mark.parametrize("setting", ["engine_metrics", "queue_metrics"])
def test_what_is_no_address_is_refused(setting: str) -> None:
    """A path to a file, or a bare host, would be a failed scrape for ever."""
    given: dict[str, Any] = {setting: "127.0.0.1:8082"}
    with pytest.raises(SettingsError, match=f"{setting} must be an address such as http"):
        Settings(**given)
