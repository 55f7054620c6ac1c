"""Proxies of the environment: never between a client and a server of its own machine, and never a crash."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip import AsyncClient, Client
from babelclip.transports.proxies import is_this_machine, proxy_for
from babelclip.versions.management import Management
from tests.clients.fake_server import FakeServer, grpc_server, http_server
from tests.clients.operated import Operated

NOWHERE = "http://127.0.0.1:1"
OF_CONTAINERS = "localhost,127.0.0.0/8,::1,[::1],fd07:b51a:cc66:f0::/64,10.0.0.0/8,.svc,.cluster.local"


@pytest.fixture
def behind_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable that names a proxy; nothing answers there."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, NOWHERE)


@pytest.mark.usefixtures("behind_proxies")
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_server_of_this_machine_is_asked_without_a_proxy(server: FakeServer, name: str) -> None:
    """On a machine whose environment names a company's proxy, its own server answers all the same."""
    with Client(server.url.replace("127.0.0.1", name), timeout=5.0) as client:
        assert len(client.embed_texts(["a"])) == 1


@pytest.mark.usefixtures("behind_proxies")
@pytest.mark.parametrize("make", [http_server, grpc_server])
def test_so_does_the_asynchronous_client(make: Callable[[], FakeServer]) -> None:
    """The same over the other libraries."""

    async def embed(url: str) -> int:
        async with AsyncClient(url, timeout=5.0) as client:
            return len(await client.embed_texts(["a"]))

    with contextlib.closing(make()) as fake:
        assert asyncio.run(embed(fake.url)) == 1


@pytest.mark.usefixtures("behind_proxies")
def test_so_does_management(world: Operated) -> None:
    """Without it scripts/serve would wait for its own server until it gave up."""
    with Management(world.server.url, world.keys) as management:
        assert management.reachable()


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize(
    "excepted", [OF_CONTAINERS, "[::1]:80", "<local>;*.corp", "fe80::1%eth0", "foo:8080, ,*"]
)
def test_every_no_proxy_lets_a_client_be_made(
    client: type[Client], excepted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What container engines and clusters write there crashes nothing, as it would httpx."""
    monkeypatch.setenv("no_proxy", excepted)
    client("http://server.example:8080")


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_a_proxy_of_another_kind_is_one_sentence(
    client: type[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SOCKS proxy for browsers costs a sentence that says what to do; without its password, and only where
    it would be used."""
    monkeypatch.setenv("all_proxy", "socks://user:secret@127.0.0.1:1")
    with pytest.raises(ValueError, match=r"kind '?socks'?.*NO_PROXY") as caught:
        client("http://server.example:8080")
    assert "secret" not in str(caught.value)
    client("http://127.0.0.1:8080")
    monkeypatch.setenv("no_proxy", ".example")
    client("http://server.example:8080")


@pytest.mark.parametrize(
    ("host", "proxy"),
    [
        ("server.example", "http://proxy:3128"),
        ("11.1.2.3", "http://proxy:3128"),
        ("10.1.2.3", None),
        ("fd07:b51a:cc66:f0::8", None),
        ("fd07:b51a:cc66:f1::8", "http://proxy:3128"),
        ("towers.ns.svc", None),
        ("127.0.0.2", None),
        ("::1", None),
        ("0.0.0.0", None),
        ("LocalHost", None),
    ],
)
def test_no_proxy_names_hosts_domains_and_networks(
    host: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster's addresses are reached directly, all others through the proxy."""
    monkeypatch.setenv("http_proxy", "proxy:3128")
    monkeypatch.setenv("no_proxy", OF_CONTAINERS)
    assert proxy_for("http", host) == proxy


@given(st.text(max_size=40))
def test_any_host_is_this_machine_or_not(host: str) -> None:
    """No name or address makes the question fail."""
    assert is_this_machine(host) in (True, False)
