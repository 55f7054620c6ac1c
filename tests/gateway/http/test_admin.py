"""What an operator changes over the network, the sessions that a share is for, and the shadow."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from babelclip import Call
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.shadow.traffic_split import TrafficSplit
from gateway.rpc import embedder_pb2 as pb
from gateway.versions import ModelVersions, render
from tests.e2e.support import PATIENCE
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway
from tests.gateway.test_metrics import counted, eventually
from tests.gateway.three_versions import NEW, NEXT, OLD

ADMIN = "/v1/admin/models"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway before three versions; each test decides anew."""
    with gateway(Engine(OLD, NEW, NEXT), tmp_path_factory.mktemp("front"), cache_mb=1) as front:
        yield front


@pytest.fixture
def front(served: Front) -> Front:
    """The same, with version 1.0 promoted and nothing beside it."""
    decide(served, ModelVersions("1.0"))
    return served


def decide(front: Front, decided: ModelVersions) -> None:
    """Puts the file in its place by hand, as an operator may."""
    path = front.keys_file.with_name("versions.json")
    partial = path.with_name("partial")
    partial.write_bytes(render({"clip": decided}))
    partial.replace(path)


def admin(front: Front, call: str = "", **body: Any) -> dict[str, Any]:
    """What an operator's call on the model `clip` answers."""
    answer = front.post(f"{ADMIN}/clip/{call}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def asked(front: Front, **headers: str) -> str:
    """The model that answers over HTTP."""
    return str(front.post(json={"input": ["a"]}, headers=headers).json()["model"])


def test_an_operator_promotes_and_rolls_back_over_http(front: Front) -> None:
    """Each call says what holds from then on, and the next request of anybody has it."""
    state = admin(front, "promote", version="2.0")
    expected = {"name": "clip", "version": "2.0", "space": "new", "previous": "1.0", "follows_engine": False}
    assert expected.items() <= state.items()
    assert asked(front) == "clip@2.0"
    assert admin(front, "rollback")["version"] == "1.0"
    assert asked(front) == "clip@1.0"
    assert front.post(json={"input": "a", "model": "clip@2.0"}).json()["model"] == "clip@2.0"
    listed = front.get(ADMIN, authorization=f"Bearer {front.key}").json()
    assert [model["previous"] for model in listed["models"]] == ["2.0"]


def test_a_key_or_a_session_has_one_version_over_http_and_grpc(front: Front) -> None:
    """The header and the metadata tell sessions apart, the key does where there are none."""
    admin(front, "canary", version="2.0", share=0.5)
    split = TrafficSplit("2.0", 0.5)
    meant = {session: split.version_for(session) or "1.0" for session in ("test", "u1", "u2", "u3", "u4")}
    assert set(meant.values()) == {"1.0", "2.0"}
    before = counted(front, "version_items_total", model="clip", version="2.0", outcome="ok")
    assert asked(front) == f"clip@{meant['test']}"
    with grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://")) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, pb.EmbedItemsResponse] = channel.unary_unary(
            "/babelclip.v1.Embedder/Embed", response_deserializer=pb.EmbedItemsResponse.FromString
        )
        sent = pb.EmbedItemsRequest(items=[pb.Item(text="a"), pb.Item(image=b"b")]).SerializeToString()
        for session, version in meant.items():
            assert asked(front, **{"Babelclip-Session": session}) == f"clip@{version}"
            metadata = (("authorization", f"Bearer {front.key}"), ("babelclip-session", session))
            assert call(sent, metadata=metadata, timeout=PATIENCE).model == f"clip@{version}"
    more = 3 * [*meant.values()].count("2.0") + (meant["test"] == "2.0")
    assert counted(front, "version_items_total", version="2.0", outcome="ok") == before + more
    assert admin(front, "canary", version="2.0", share=0)["canary"] is None


@pytest.mark.parametrize(
    ("call", "body", "status", "said"),
    [
        ("promote", {}, 400, '"version" must be'),
        ("promote", {"version": "../1"}, 400, '"version" must be'),
        ("promote", {"version": "2.0", "force": True}, 400, 'no "force"'),
        ("promote", {"version": "9.0"}, 404, "not served in this version"),
        ("rollback", {}, 409, "nothing to roll back to"),
        ("rollback", {"version": "1.0"}, 400, "takes nothing"),
        ("rollback", [], 400, "must be a JSON object"),
        ("canary", {"version": "2.0"}, 400, '"share" must be'),
        ("canary", {"version": "2.0", "share": 10}, 400, '"share" must be'),
        ("canary", {"version": "2.0", "share": True}, 400, '"share" must be'),
        ("canary", {"version": "1.0", "share": 0.1}, 409, "already"),
        ("shadow", {"version": "9.0", "share": 0.1}, 404, "not served"),
    ],
)
def test_a_wrong_call_changes_nothing(front: Front, call: str, body: Any, status: int, said: str) -> None:
    """The message says what was wrong and what is allowed."""
    answer = front.post(f"{ADMIN}/clip/{call}", json=body)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]["message"]
    assert asked(front) == "clip@1.0"


def test_other_models_and_callers_without_a_key_are_refused(front: Front) -> None:
    """Nobody without a key changes a version, and a name with a version is none here."""
    address = f"{front.addresses.http}{ADMIN}"
    assert httpx.post(f"{address}/clip/promote", json={"version": "2.0"}).status_code == 401
    assert httpx.get(address).status_code == 401
    for name in ("other", "clip@1.0"):
        answer = front.post(f"{ADMIN}/{name}/promote", json={"version": "2.0"})
        assert answer.status_code in (400, 404)
    assert asked(front) == "clip@1.0"


def test_without_a_file_a_name_follows_the_engine(tmp_path: Path) -> None:
    """As it always was; and an operator's call says why it cannot change that."""
    engine = Engine(OLD, NEW)
    with gateway(engine, tmp_path, versions_file="", probe_seconds=0.01) as front:
        assert asked(front) == "clip@1.0"
        answer = front.post(f"{ADMIN}/clip/promote", json={"version": "2.0"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "versions_unchangeable")
        engine.default = dict.fromkeys(engine.default, "2.0")
        eventually(lambda: asked(front) == "clip@2.0")


def shadow_of(front: Front) -> dict[str, Any]:
    """What the candidate has shown."""
    answer = front.get(f"{ADMIN}/clip", authorization=f"Bearer {front.key}")
    report: dict[str, Any] = answer.json()["shadow"].get("report", {})
    return report


def test_a_candidate_in_the_shadow_is_compared_and_answers_nobody(front: Front) -> None:
    """Its vectors are judged by those that were answered, and counted; callers have the serving version's."""
    admin(front, "shadow", version="3.0", share=1)
    before = {outcome: counted(front, "shadow_items_total", outcome=outcome) for outcome in ("same", "other")}
    try:
        front.engine.versions["3.0"].vectors[b"differs"] = -OLD.vector("differs")
        answer = front.post(json={"input": ["differs", *(f"text {i}" for i in range(60)), {"image": "QUJD"}]})
        assert answer.json()["model"] == "clip@1.0"
        eventually(lambda: shadow_of(front).get("items") == {"text": 61, "image": 1})
    finally:
        front.engine.versions["3.0"].vectors.clear()
    report = shadow_of(front)
    assert (report["promote"], report["same_space"], report["dropped"]) == (False, True, 0)
    assert any("1 images were compared" in reason for reason in report["reasons"])
    assert counted(front, "shadow_items_total", model="clip", outcome="same") == before["same"] + 61
    assert counted(front, "shadow_items_total", model="clip", outcome="other") == before["other"] + 1


def test_another_space_in_the_shadow_is_judged_by_neighbours(front: Front) -> None:
    """Vectors of two spaces are never compared with each other."""
    admin(front, "shadow", version="2.0", share=1)
    assert front.post(json={"input": [f"neighbour {i}" for i in range(60)]}).json()["model"] == "clip@1.0"
    eventually(lambda: shadow_of(front).get("overlap"))
    report = shadow_of(front)
    assert (report["same_space"], report["cosine"]) == (False, {})
    assert 0 <= report["overlap"]["text → text"] <= 1


@pytest.mark.slow
def test_a_candidate_that_fails_or_is_too_slow_costs_callers_nothing(tmp_path: Path) -> None:
    """Its failures are counted by their codes, and what it cannot keep up with is dropped."""
    engine = Engine(OLD, NEW, NEXT)
    held = {"3.0": True}

    async def during(call: Call) -> None:
        while call.version == "3.0" and held["3.0"] and not EmbedRequest.FromString(call.body).canary:
            await asyncio.sleep(0.01)

    with gateway(engine, tmp_path, cache_mb=1) as front:
        decide(front, ModelVersions("1.0"))
        admin(front, "shadow", version="3.0", share=1)
        engine.versions["3.0"].failing[b"fails"] = ("text_too_long", "too long")
        engine.during = during
        try:
            assert front.post(json={"input": ["fails"]}).status_code == 200
            for number in range(80):
                assert asked_for(front, f"flood {number}") == "clip@1.0"
                time.sleep(0.07)  # So that it takes longer than admission counts what each key asks for.
            assert counted(front, "shadow_items_total", outcome="dropped") > 0
            held["3.0"] = False
            eventually(lambda: shadow_of(front).get("failed") == {"text_too_long": 1})
        finally:
            held["3.0"] = False
            engine.versions["3.0"].failing.clear()
        assert counted(front, "shadow_items_total", outcome="text_too_long") == 1
        assert any("the candidate alone fails 1" in reason for reason in shadow_of(front)["reasons"])


def asked_for(front: Front, text: str) -> str:
    """The model that answers to this text."""
    return str(front.post(json={"input": [text]}).json()["model"])
