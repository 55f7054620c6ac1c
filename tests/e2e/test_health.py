"""Readiness as an operator's probes ask for it, on a running server."""

import httpx
import pytest

from babelclip import Client
from tests.e2e.support import Server


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_both_towers_pass_their_canaries(server: Server, transport: str) -> None:
    """The client's probe embeds both canaries and names the space."""
    with Client(server.url(transport), token_file=server.token_file) as client:
        assert client.health() == server.space


@pytest.mark.parametrize("tower", ["text", "vision"])
@pytest.mark.parametrize("path", ["", "/{version}"])
def test_a_get_is_a_probe(server: Server, tower: str, path: str) -> None:
    """A probe that can only GET, with headers, learns the same; with or without a version."""
    headers = {"authorization": f"Bearer {server.key('inference')}", "accept": "application/health+json"}
    url = f"{server.http}/predictions/{tower}{path.format(version=server.version)}"
    answer = httpx.get(url, headers=headers, timeout=60)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/health+json")
    told = {"status": "pass", "serviceId": tower, "releaseId": server.space}
    assert answer.json() == {**told, "notes": ["cpu float32 onnxruntime"]}


def test_a_probe_is_not_counted_as_an_item(server: Server) -> None:
    """Probes do not show as traffic in the graphs of items."""
    with Client(server.http, token_file=server.token_file) as client:
        client.embed_texts(["a"])
        before = server.counted("babelclip_items_total", tower="text")
        for _ in range(5):
            client.health()
        assert server.counted("babelclip_items_total", tower="text") <= before + 1  # metrics come late
