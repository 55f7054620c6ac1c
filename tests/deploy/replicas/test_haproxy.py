"""Routes of the Gateway API in a real HAProxy: who is led where, and what a change or a fault costs."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest

from benchmarks.support import haproxy
from benchmarks.support.haproxy import Proxy, ProxyError
from benchmarks.support.routing import documents, free_port
from deploy.haproxy.configuration import Listen, render
from deploy.haproxy.routes import read_routes
from tests.deploy.replicas.stand_ins import EMBED, StandIn, stand_ins

VERSIONS = {"blue": "1.0", "green": "2.0"}
TRACKS = {"blue": ("blue-1", "blue-2"), "green": ("green-1",)}


@dataclass
class Site:
    """A proxy, what is behind it, and where it listens."""

    proxy: Proxy
    behind: dict[str, StandIn]
    listen: Listen
    client: httpx.Client

    def route(self, **weights: int) -> None:
        """Other weights, by a reload."""
        self.proxy.reload(configuration(self.listen, self.behind, weights))

    def post(self, path: str = "/v1/embeddings", **headers: str) -> httpx.Response:
        """One request on a connection of its own."""
        return self.client.post(path, json={}, headers={"connection": "close", **headers})

    def embed(self, *metadata: tuple[str, str]) -> str:
        """Who answers a call over gRPC."""
        with grpc.insecure_channel(self.listen.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EMBED)
            return call(b"", metadata=metadata, timeout=60.0).decode()


def configuration(listen: Listen, behind: dict[str, StandIn], weights: dict[str, int]) -> str:
    """Of the two tracks with these weights."""
    endpoints = {
        f"babelclip-{track}": [behind[name].endpoint for name in names] for track, names in TRACKS.items()
    }
    return render(read_routes(documents(weights, VERSIONS)), endpoints, listen)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Two replicas of a track, one of another, all of them up; every test begins with the route to blue."""
    if haproxy.find() is None:
        pytest.skip("there is no haproxy: scripts/tools gets it")
    listens: list[Listen] = []

    def configure(folder: Path) -> str:
        listens.append(
            Listen(
                http=f"127.0.0.1:{free_port()}",
                grpc=f"127.0.0.1:{free_port()}",
                folder=str(folder),
                check_seconds=0.1,
            )
        )
        return configuration(listens[0], behind, {"blue": 100, "green": 0})

    with stand_ins(*(name for names in TRACKS.values() for name in names)) as made:
        behind = {one.name: one for one in made}
        with (
            haproxy.running(configure) as proxy,
            httpx.Client(base_url=f"http://{listens[0].http}", trust_env=False, timeout=60.0) as client,
        ):
            yield Site(proxy, behind, listens[0], client)


@pytest.fixture(autouse=True)
def _fresh(site: Site) -> None:
    for one in site.behind.values():
        one.ready, one.mute, one.asked = True, False, []
    for track, names in TRACKS.items():
        for name in names:
            site.proxy.wait_status(f"ready-babelclip-{track}", name, up=True)
    site.route(blue=100, green=0)


def test_a_header_names_a_track_or_its_version(site: Site) -> None:
    """Who names a track, or a version, gets it over both protocols, whatever the weights are."""
    for headers in ({"Babelclip-Track": "green"}, {"Babelclip-Version": "2.0"}):
        assert site.post(**headers).text == "green-1"
        assert site.embed(*((name.lower(), value) for name, value in headers.items())) == "green-1"
    assert {site.post(**{"Babelclip-Track": "green", "x-other": "blue"}).text for _ in range(3)} == {
        "green-1"
    }
    # Anything else than the exact value names nothing.
    assert site.post(**{"Babelclip-Track": "greens"}).text.startswith("blue-")


def test_weights_are_shares_of_the_requests(site: Site) -> None:
    """A track of weight 0 has none, one of two equal ones has some, however many replicas each has."""
    assert {site.post().text for _ in range(10)} <= {"blue-1", "blue-2"}
    assert site.embed().startswith("blue-")
    site.route(blue=50, green=50)
    over_http = Counter(site.post().text.partition("-")[0] for _ in range(40))
    over_grpc = Counter(site.embed().partition("-")[0] for _ in range(40))
    assert set(over_http) == set(over_grpc) == {"blue", "green"}
    site.route(blue=0, green=100)
    assert {site.post().text for _ in range(10)} == {site.embed()} == {"green-1"}


def test_a_reload_costs_no_request(site: Site) -> None:
    """Connections that stay open fail nothing, meet the new weights after one more answer, and are let go."""
    with (
        httpx.Client(base_url=site.client.base_url, trust_env=False, timeout=60.0) as client,
        grpc.insecure_channel(site.listen.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel,
    ):
        embed: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EMBED)

        def kept() -> tuple[httpx.Response, bytes]:
            return client.post("/v1/embeddings", json={}), embed(b"", timeout=60.0)

        for turn in range(6):
            site.route(**({"blue": 100, "green": 0} if turn % 2 else {"blue": 0, "green": 100}))
            over_http, _ = kept()
            assert over_http.status_code == 200
        over_http, over_grpc = kept()
        assert over_http.text.startswith("blue-")
        assert over_grpc.startswith(b"blue-")
    site.proxy.wait_left()


def test_a_replica_whose_golden_items_fail_is_taken_out(site: Site) -> None:
    """/readyz says so for both protocols, and a reload does not forget it; when it is well it is back."""
    site.behind["blue-1"].ready = False
    site.proxy.wait_status("ready-babelclip-blue", "blue-1", up=False)
    for weights in ({}, {"blue": 90, "green": 10}):
        if weights:
            site.route(**weights)
        statuses = site.proxy.statuses()
        for backend in ("ready", "http", "grpc"):
            assert statuses[f"{backend}-babelclip-blue", "blue-1"].startswith("DOWN")
        named = {"Babelclip-Track": "blue"}
        assert {site.post(**named).text for _ in range(5)} == {"blue-2"}
        assert site.embed(("babelclip-track", "blue")) == "blue-2"
    site.behind["blue-1"].ready = True
    site.proxy.wait_status("grpc-babelclip-blue", "blue-1", up=True)


def test_what_embeds_is_repeated_and_what_changes_something_is_not(site: Site) -> None:
    """A replica that hangs up costs nobody an embedding; a change that it may have made is not made twice."""
    site.behind["blue-1"].mute = True
    for _ in range(6):
        assert site.post(x="y" * 100).text == "blue-2"
    assert site.behind["blue-1"].asked
    both = [site.behind["blue-1"], site.behind["blue-2"]]
    for one in both:
        one.mute, one.asked = True, []
    assert site.post("/v1/collections/photos/items").status_code == 502
    assert sum(len(one.asked) for one in both) == 1


def test_a_track_without_a_share_is_unavailable(site: Site) -> None:
    """Where all weights are 0 a request is refused as one that may come again."""
    site.route(blue=0, green=0)
    assert site.post().status_code == 503
    with pytest.raises(grpc.RpcError) as refused:
        site.embed()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_host_that_no_route_is_for_has_none(site: Site) -> None:
    """A route with hostnames leaves others alone."""
    routes = documents({"blue": 100, "green": 0}, VERSIONS)
    for route in routes:
        route["spec"]["hostnames"] = ["embed.example.org", "*.shop.example.org"]
    endpoints = {
        f"babelclip-{track}": [site.behind[name].endpoint for name in names]
        for track, names in TRACKS.items()
    }
    site.proxy.reload(render(read_routes(routes), endpoints, site.listen))
    asked: Callable[[str], int] = lambda host: site.post(host=host).status_code  # noqa: E731
    assert [asked("embed.example.org"), asked("a.shop.example.org:8000")] == [200, 200]
    assert [asked("shop.example.org"), asked("other.example.org")] == [404, 404]


def test_a_broken_configuration_changes_nothing(site: Site) -> None:
    """HAProxy's own check comes first; what runs goes on, and the message has its words."""
    with pytest.raises(ProxyError, match="no-such-option"):
        site.proxy.reload("global\n    no-such-option\n")
    assert site.post().status_code == 200
