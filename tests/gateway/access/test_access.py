"""What a key may do and how much, over HTTP and gRPC: scopes, expiry, limits."""

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from babelclip import Call
from babelclip.keys.entries import Limits, Scope, written
from babelclip.keys.file import add
from gateway.access.bucket import TokenBucket
from gateway.http.app import build
from gateway.http.guard import SCOPES, is_open
from gateway.metrics import Metrics
from gateway.rpc import collections_pb2, server
from gateway.rpc import embedder_pb2 as pb
from gateway.settings import Settings
from tests.e2e.support import PATIENCE, summed
from tests.gateway.engine import Engine, models
from tests.gateway.front import Front, gateway

CALL = {"input": "a"}
# So few that a test is over before there is another.
ONE_AN_HOUR = 1 / 3600


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway before an engine in memory."""
    with gateway(Engine(), tmp_path_factory.mktemp("front")) as front:
        yield front


def http(front: Front, key: str, body: Any = CALL) -> httpx.Response:
    """One call over HTTP."""
    return front.post(json=body, headers={"authorization": f"Bearer {key}"})


def typed(front: Front, key: str, name: str = "Embed", texts: tuple[str, ...] = ("a",)) -> Any:
    """The same over gRPC → the answer, or the error."""
    sent = pb.EmbedItemsRequest(items=[pb.Item(text=text) for text in texts]).SerializeToString()
    with grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://")) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/babelclip.v1.Embedder/{name}"
        )
        try:
            answer = call(sent, metadata=(("authorization", f"Bearer {key}"),), timeout=PATIENCE)
        except grpc.RpcError as error:
            return error
    return pb.EmbedItemsResponse.FromString(answer)


def details(error: Any) -> tuple[str, int]:
    """The code of an error over gRPC, and after how many seconds to come again."""
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    info, retry = ErrorInfo(), RetryInfo()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(retry)
    return info.reason, retry.retry_delay.seconds


@given(
    rate=st.floats(0.1, 1e6),
    taken=st.lists(st.tuples(st.floats(0, 10), st.floats(0.01, 1e6)), max_size=30),
)
def test_no_more_is_had_than_the_rate_and_one_fill(rate: float, taken: list[tuple[float, float]]) -> None:
    """However requests come, what is let through has waited for what was let through before it."""
    now = 0.0
    bucket = TokenBucket(rate, lambda: now)
    size = max(rate, 1.0)
    had = 0.0
    for pause, count in taken:
        now += pause
        wait = bucket.wait(count)
        now += wait
        assert bucket.wait(count) <= 1e-6
        # Before this one: a fill, and what has come in meanwhile, less what this one needed to find.
        assert had <= size + rate * now - min(count, size) + 1e-3 * size
        bucket.take(count)
        had += count


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (Limits(requests_per_second=ONE_AN_HOUR), "requests"),
        (Limits(items_per_second=ONE_AN_HOUR), "items"),
        (Limits(bytes_per_second=ONE_AN_HOUR), "bytes"),
    ],
)
@pytest.mark.parametrize("way", ["http", "grpc"])
def test_what_is_too_much_for_a_key_is_refused_with_the_time_to_come_again(
    front: Front, limits: Limits, what: str, way: str
) -> None:
    """A limit holds for its key alone, over both ways in, and its caller learns when to try again."""
    key = add(front.keys_file, f"{what}-{way}", limits=limits)
    other = add(front.keys_file, f"{what}-{way}-other")
    if way == "http":
        assert http(front, key).status_code == 200
        answer = http(front, key)
        assert answer.status_code == 429, answer.text
        error = answer.json()["error"]
        assert error["code"] == "rate_limit_exceeded"
        assert f"{what} a second" in error["message"]
        assert int(answer.headers["retry-after"]) > 1000
        assert http(front, other).status_code == 200
    else:
        assert typed(front, key).dim == 32
        error = typed(front, key)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        reason, seconds = details(error)
        assert (reason, seconds > 1000) == ("rate_limit_exceeded", True)
        assert typed(front, other).dim == 32
    exposition = httpx.get(front.addresses.metrics).text
    assert summed(exposition, "babelclip_gateway_refusals_total", key=f"{what}-{way}", limit=what) == 1
    assert key not in exposition


def test_a_limit_that_is_changed_holds_from_the_next_request_on(front: Front) -> None:
    """An operator who raises a limit has no gateway to restart."""
    key = add(front.keys_file, "raised", limits=Limits(requests_per_second=ONE_AN_HOUR))
    assert [http(front, key).status_code for _ in range(2)] == [200, 429]
    content = json.loads(front.keys_file.read_text())
    del content["keys"][-1]["limits"]
    front.keys_file.write_text(json.dumps(content))
    assert http(front, key).status_code == 200


def test_items_that_are_under_way_count_until_they_are_done(tmp_path: Path) -> None:
    """A key with a limit of concurrent items has that many at a time, and a larger request alone."""
    engine = Engine()
    begun, release = threading.Event(), threading.Event()

    async def during(call: Call) -> None:
        if b"long" in call.body:
            begun.set()
            await asyncio.to_thread(release.wait, PATIENCE)

    engine.during = during
    with ThreadPoolExecutor(1) as pool, gateway(engine, tmp_path) as front:
        key = add(front.keys_file, "few", limits=Limits(concurrent_items=2))
        waiting = pool.submit(http, front, key, {"input": ["long", "b", "c"]})
        try:
            assert begun.wait(PATIENCE)
            refused = http(front, key)
            assert refused.status_code == 429
            assert "2 items at a time" in refused.json()["error"]["message"]
            assert front.post(json=CALL).status_code == 200  # another key
        finally:
            release.set()
        assert waiting.result(PATIENCE).status_code == 200
        assert http(front, key, {"input": ["a", "b"]}).status_code == 200


def test_a_stream_is_slowed_to_its_limits(front: Front) -> None:
    """A bulk job over one stream loses nothing: its requests wait, where separate calls were refused."""
    limits = Limits(requests_per_second=20, items_per_second=20, concurrent_items=1)
    key = add(front.keys_file, "bulk", limits=limits)
    requests = (pb.EmbedItemsRequest(items=[pb.Item(text=str(number))]) for number in range(30))
    with grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://")) as channel:
        call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            "/babelclip.v1.Embedder/EmbedStream"
        )
        sent = (request.SerializeToString() for request in requests)
        answers = list(call(sent, metadata=(("authorization", f"Bearer {key}"),), timeout=PATIENCE))
    assert len(answers) == 30
    exposition = httpx.get(front.addresses.metrics).text
    assert summed(exposition, "babelclip_gateway_refusals_total", key="bulk") == 0


@pytest.mark.parametrize("scope", ["search", "admin"])
def test_a_key_without_the_scope_is_refused(front: Front, scope: Scope) -> None:
    """Who may compare, or operate, gets no vectors; what needs no scope is anybody's who has a key."""
    key = add(front.keys_file, f"only-{scope}", scopes=[scope])
    answer = http(front, key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_scope")
    assert answer.json()["error"]["message"] == (
        f"the key has the scope {scope}, and this call needs the scope embed"
    )
    error = typed(front, key)
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert details(error)[0] == "insufficient_scope"
    assert front.get("/v1/models", authorization=f"Bearer {key}").status_code == 200
    assert front.get("/v1/none", authorization=f"Bearer {key}").status_code == 404
    assert front.get("/v1/embeddings", authorization=f"Bearer {key}").status_code == 405


def test_only_an_operators_key_changes_what_is_served(front: Front) -> None:
    """Whoever may embed and search may neither promote a version nor see which ones are tried."""
    key = add(front.keys_file, "caller")
    assert http(front, key).status_code == 200
    answer = front.get("/v1/admin/models", authorization=f"Bearer {key}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_scope")
    operator = add(front.keys_file, "operator", scopes=["admin"])
    assert front.get("/v1/admin/models", authorization=f"Bearer {operator}").status_code == 200


def test_a_key_that_has_expired_says_so(front: Front) -> None:
    """A caller whose key is over does not look for a typing mistake."""
    key = add(front.keys_file, "guest", expires=datetime.now(UTC) + timedelta(days=1))
    assert http(front, key).status_code == 200
    content = json.loads(front.keys_file.read_text())
    content["keys"][-1]["expires"] = written(datetime.now(UTC) - timedelta(days=1))
    front.keys_file.write_text(json.dumps(content))
    answer = http(front, key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "expired_api_key")
    assert re.match(r"the key expired on \d{4}-", answer.json()["error"]["message"])
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    error = typed(front, key)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert details(error)[0] == "expired_api_key"


def test_every_route_and_call_has_its_scope() -> None:
    """A route that nobody thought of would be the operator's alone, and its callers would wonder."""

    async def paths() -> list[str]:
        served = models(Engine())
        try:
            return [route.path for route in build(served, Settings(), None, Metrics()).routes]  # type: ignore[attr-defined]
        finally:
            await served.close()

    for path in asyncio.run(paths()):
        assert is_open(path) or any(pattern.fullmatch(path) for pattern, _ in SCOPES), path
    kept = collections_pb2.DESCRIPTOR.services_by_name["Collections"]
    calls = [*pb.DESCRIPTOR.services_by_name["Embedder"].methods, *kept.methods]
    assert {call.name for call in calls} <= set(server.SCOPES)
