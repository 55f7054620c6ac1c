"""Fixtures for the client's tests: a server for each protocol, and no credentials from outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from babelclip.versions import deployment
from tests.clients.fake_server import FakeServer, grpc_server, http_server
from tests.clients.management_server import ManagedServer, managed_server
from tests.clients.operated import Operated


@pytest.fixture(autouse=True)
def no_ambient_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the variables of whoever runs the tests away from the clients in them."""
    for name in ("URL", "GRPC_URL", "MANAGEMENT_URL", "TOKEN", "TOKEN_FILE"):
        monkeypatch.delenv(f"BABELCLIP_{name}", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(params=["http", "grpc"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    """A server, once for each protocol."""
    fake = http_server() if request.param == "http" else grpc_server()
    yield fake
    fake.close()


@pytest.fixture
def web() -> Iterator[FakeServer]:
    """A server over HTTP, for what does not depend on the protocol."""
    fake = http_server()
    yield fake
    fake.close()


@pytest.fixture(scope="session")
def managed() -> Iterator[ManagedServer]:
    """A server with a management address; a test gets it through `world`."""
    with managed_server() as server:
        yield server


@pytest.fixture
def world(managed: ManagedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operated:
    """A store of version 1.0 that is served, and a store of version 2.0 to be added."""
    monkeypatch.setattr(deployment, "POLL_SECONDS", 0.001)
    return Operated(managed, tmp_path)
