"""The metrics of the gateway, as Prometheus reads them."""

import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from babelclip.embedding_pb2 import EmbedRequest
from babelclip.testing import InMemoryTransport
from gateway.rpc import embedder_pb2 as pb
from tests.e2e.support import PATIENCE, summed
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway


def counted(front: Front, name: str, **labels: str) -> float:
    """The sum of a metric over the series that have these labels."""
    return summed(httpx.get(front.addresses.metrics).text, f"babelclip_gateway_{name}", **labels)


def eventually(holds: Callable[[], Any]) -> None:
    """Wait for what must come to hold."""
    give_up = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_calls_and_items_are_counted_by_what_came_of_them(tmp_path: Path) -> None:
    """An operator sees whose calls fail, and of what, over HTTP and gRPC."""
    engine = Engine(InMemoryTransport(failing={"poison": ("empty_item", "nothing to see")}))
    with gateway(engine, tmp_path) as front:
        assert front.post(json={"input": ["a", "b"]}).status_code == 200
        assert front.post(json={"input": ["poison", {"image": "*"}]}).status_code == 400
        assert front.post(json={"input": "a", "model": "free choice"}).status_code == 404
        assert httpx.post(f"{front.addresses.http}/v1/embeddings").status_code == 401
        assert front.post("/free/choice").status_code == 404
        with grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://")) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/babelclip.v1.Embedder/Embed"
            )
            sent = pb.EmbedItemsRequest(items=[pb.Item(image=b"x")]).SerializeToString()
            call(sent, metadata=(("authorization", f"Bearer {front.key}"),), timeout=PATIENCE)
            with pytest.raises(grpc.RpcError):
                call(sent, timeout=PATIENCE)
        call_ = "/v1/embeddings"
        good = {"call": call_, "model": "clip", "key": "test", "status": "200"}
        eventually(lambda: counted(front, "requests_total") == 7)
        assert counted(front, "requests_total", **good) == 1
        assert counted(front, "requests_total", call=call_, key="test", status="400") == 1
        assert counted(front, "requests_total", call=call_, model="", key="test", status="404") == 1
        assert counted(front, "requests_total", call=call_, key="", status="401") == 1
        assert counted(front, "requests_total", call="other", status="404") == 1
        assert counted(front, "requests_total", call="Embed", model="clip", key="test", status="OK") == 1
        assert counted(front, "requests_total", call="refused", status="UNAUTHENTICATED") == 1
        assert counted(front, "request_seconds_count", call=call_) == 4
        assert counted(front, "requests_in_progress") == 0
        for tower, outcome, count in (
            ("text", "ok", 2),
            ("text", "empty_item", 1),
            ("", "invalid_item", 1),
            ("vision", "ok", 1),
        ):
            assert counted(front, "items_total", model="clip", tower=tower, outcome=outcome) == count
        exposition = httpx.get(front.addresses.metrics).text
    assert "choice" not in exposition
    assert front.key not in exposition


def test_addresses_that_name_a_model_count_together(tmp_path: Path) -> None:
    """A caller who tries many names makes no new series: a label has the form of the address."""
    with gateway(Engine(), tmp_path) as front:

        def thrice(call: str) -> bool:
            return counted(front, "requests_total", call=call) == 3

        for name in ("clip", "clip@1.0", "free/choice"):
            front.post(f"/v1/models/{name}:predict", json={"instances": ["a"]})
            front.post(f"/v2/models/{name}/versions/1.0/infer", json={})
            front.get(f"/v1/models/{name}", authorization=f"Bearer {front.key}")
        for call in ("{model}:predict", "{model}"):
            eventually(partial(thrice, f"/v1/models/{call}"))
        eventually(partial(thrice, "/v2/models/{model}/versions/{version}/infer"))
        assert "choice" not in httpx.get(front.addresses.metrics).text


def test_the_cache_is_seen(tmp_path: Path) -> None:
    """An operator sees whether the cache is worth its memory; nothing that is known reaches the engine."""
    engine = Engine()
    with gateway(engine, tmp_path, cache_mb=1) as front:
        first = front.post(json={"input": ["heart", "b", {"image": "aaaa"}]})
        again = front.post(json={"input": ["heart", "b", {"image": "aaaa"}, "heart"]})
        assert again.json()["data"][:3] == first.json()["data"]
        for tower, result, count in (("text", "miss", 2), ("text", "hit", 3), ("vision", "hit", 1)):
            assert counted(front, "cache_items_total", model="clip", tower=tower, result=result) == count
        assert counted(front, "cache_vectors") == 3
        assert 0 < counted(front, "cache_bytes") < 1_000_000
        assert counted(front, "items_total", tower="text", outcome="ok") == 5
    texts = [text for call in engine.calls for text in EmbedRequest.FromString(call.body).texts]
    assert texts.count(b"heart") == 1


def test_a_promotion_is_seen(tmp_path: Path) -> None:
    """A dashboard shows which space is served, and when the towers are away."""
    engine = Engine(InMemoryTransport(), InMemoryTransport(space="new", version="2.0"))
    with gateway(engine, tmp_path, probe_seconds=0.01) as front:
        old = {"model": "clip", "version": "1.0", "space": "in-memory"}
        new = {"model": "clip", "version": "2.0", "space": "new"}
        eventually(lambda: counted(front, "model_info", **old) == 1)
        assert counted(front, "model_ready", model="clip") == 1
        engine.default = dict.fromkeys(engine.default, "2.0")
        eventually(lambda: counted(front, "model_info", **new) == 1)
        assert counted(front, "model_info", **old) == 0
        engine.versions.clear()
        eventually(lambda: counted(front, "model_ready", model="clip") == 0)
        eventually(lambda: counted(front, "self_tests_total", model="clip", outcome="model_not_found"))
        assert counted(front, "self_tests_total", model="clip", outcome="ok")


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """The gateway does not start half."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(OSError, match=f"port {port} for metrics"),
            gateway(Engine(), tmp_path, metrics_port=port),
        ):
            pass
        with (
            pytest.raises(OSError, match=f"port {port} for gRPC"),
            gateway(Engine(), tmp_path / "other", grpc_port=port),
        ):
            pass
