"""Fixtures for the client's tests: a server for each protocol, and no credentials from outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.clients.fake_server import FakeServer, grpc_server, http_server

# A busy machine is no failure: no example has a time limit.
settings.register_profile("babelclip", deadline=None)
settings.load_profile("babelclip")


@pytest.fixture(autouse=True)
def no_ambient_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the variables of whoever runs the tests away from the clients in them."""
    for name in ("BABELCLIP_URL", "BABELCLIP_TOKEN", "BABELCLIP_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
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
