"""A tower asked whether it works: its self-test, by both transports, counted apart from callers' items."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from handlers.embedding_pb2 import EmbedRequest
from tests.handlers.conftest import DIM, SPACE
from tests.handlers.worker import Reply, Worker, grpc, http

PROTOBUF = "application/x-protobuf"
HEALTH = "application/health+json"
PROBE = EmbedRequest(canary=True).SerializeToString()


def probe(worker: Worker) -> tuple[Reply, Reply, Reply]:
    """The same question as a GET, as protobuf over HTTP, and over gRPC."""
    calls = (http(b"", accept=HEALTH), http(PROBE, PROTOBUF), grpc(request=PROBE))
    get, post, call = worker.send(*calls)
    return get, post, call


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_a_working_tower_passes(request: pytest.FixtureRequest, tower: str) -> None:
    """A probe is answered only by the vector that the tower gave at its export."""
    worker: Worker = request.getfixturevalue(tower)
    get, post, call = probe(worker)
    assert (get.status, get.content_type) == (200, HEALTH)
    told = {"status": "pass", "serviceId": tower, "releaseId": SPACE, "notes": ["cpu float32 onnxruntime"]}
    assert json.loads(get.body) == told
    for reply in (post, call):
        assert (reply.status, reply.message.space, reply.message.error.code) == (200, SPACE, "")
        vector = np.frombuffer(reply.message.vectors, "<f4")
        assert vector @ worker.handler.meta.self_test.vector > 0.999


def broken(worker: Worker, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    meta = worker.handler.meta
    self_test = dataclasses.replace(meta.self_test, **changes)
    monkeypatch.setattr(worker.handler, "meta", dataclasses.replace(meta, self_test=self_test))


@pytest.mark.parametrize(
    "changes",
    [{"vector": np.eye(DIM, dtype=np.float32)[0]}, {"item": "a poison"}, {"item": ""}],
    ids=["another vector", "the program fails", "no item"],
)
def test_a_broken_tower_fails(
    text: Worker, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    """A tower that gives another vector, or none, is not ready, and says so by every way it can be asked."""
    broken(text, monkeypatch, **changes)
    get, post, call = probe(text)
    assert (get.status, post.status) == (503, 503)
    report = json.loads(get.body)
    assert (report["status"], report["releaseId"]) == ("fail", SPACE)
    assert report["output"].startswith("canary_mismatch: ")
    for reply in (post, call):
        assert reply.message.error.code == "canary_mismatch"
        assert not reply.message.vectors


def test_a_probe_is_in_nobodys_way(text: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing self-test costs no caller anything, and its item is not counted as one of theirs."""
    broken(text, monkeypatch, vector=np.eye(DIM, dtype=np.float32)[0])
    recorded: list[Any] = []
    monkeypatch.setattr(text.handler, "_metrics", type("Sink", (), {"record": recorded.append}))
    good, _, after = text.send(grpc(data=b"a"), http(b"", accept=HEALTH), grpc(data=b"red"))
    assert good.message.vectors
    assert after.message.vectors
    assert recorded[0].items == {"ok": 2}
    assert recorded[0].requests == {("grpc", "ok"): 2, ("http", "canary_mismatch"): 1}


def test_a_probe_holds_no_items_and_may_name_its_space(text: Worker) -> None:
    """A probe that asks for more than the self-test is refused for what is wrong with it."""
    mixed = EmbedRequest(canary=True, texts=[b"a"]).SerializeToString()
    elsewhere = EmbedRequest(canary=True, space="another").SerializeToString()
    replies = text.send(grpc(request=mixed), grpc(request=elsewhere))
    assert [reply.message.error.code for reply in replies] == ["malformed_request", "space_mismatch"]
