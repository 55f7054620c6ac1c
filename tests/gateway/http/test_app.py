"""What every call over HTTP has in common: keys, limits, health, CORS, errors, the description."""

import asyncio
import contextlib
import http.client
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from starlette.routing import Route

from babelclip import Call, Unavailable
from babelclip.keys.file import add, revoke
from gateway.http.app import build
from gateway.http.guard import OPEN
from gateway.http.openapi.document import describe
from gateway.metrics import Metrics
from gateway.rpc import embedder_pb2 as pb
from gateway.settings import Settings
from tests.e2e.support import PATIENCE
from tests.gateway.engine import Engine, models
from tests.gateway.front import Front, gateway

PAGE = "https://shop.example"
CALL = {"input": "a"}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway with small limits, that one page of a browser may call."""
    limits = {"max_body_bytes": 100_000, "cors_origins": (PAGE,)}
    with gateway(Engine(), tmp_path_factory.mktemp("front"), **limits) as front:
        yield front


@pytest.mark.parametrize(
    ("authorization", "challenge"),
    [
        (None, 'Bearer realm="babelclip"'),
        ("Bearer", 'Bearer realm="babelclip"'),
        ("Basic dXNlcjpwYXNz", 'Bearer realm="babelclip"'),
        ("Bearer wrong", 'Bearer realm="babelclip", error="invalid_token"'),
        ("bearer bck_ключ".encode(), 'Bearer realm="babelclip", error="invalid_token"'),
    ],
)
@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/models", "/v1/models/clip", "/v1/none", "/other"])
def test_no_call_without_a_key(
    front: Front, path: str, authorization: str | bytes | None, challenge: str
) -> None:
    """A missing or wrong key is 401 with a challenge, never 400, and nothing is embedded or told."""
    given = authorization.encode() if isinstance(authorization, str) else authorization
    headers = {} if given is None else {b"authorization": given}
    answer = httpx.post(f"{front.addresses.http}{path}", json={"input": "not let in"}, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == challenge
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert not [call for call in front.engine.calls if b"not let in" in call.body]


def test_keys_are_given_and_taken_while_calls_go_on(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    """A key works from the moment it is made until it is revoked, and is in no log."""
    with caplog.at_level(logging.DEBUG):
        key = add(front.keys_file, "shop")
        bearer = {"authorization": f"bearer {key}"}
        assert front.post(json=CALL, headers=bearer).status_code == 200
        revoke(front.keys_file, "shop")
        assert front.post(json=CALL, headers=bearer).status_code == 401
        assert front.post(json=CALL).status_code == 200
    # What the test's own client logs of itself is not the gateway's.
    written = "".join(record.getMessage() for record in caplog.records if not record.name.startswith("http"))
    assert key not in written


def test_without_authentication_everybody_on_the_machine_may_call(tmp_path: Path) -> None:
    """A developer can do without keys, where nobody else reaches the port."""
    with gateway(Engine(), tmp_path, authentication=False) as front:
        assert httpx.post(f"{front.addresses.http}/v1/embeddings", json=CALL).status_code == 200


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"content": b"x" * 100_001}, 413, "body_too_large"),
        ({"content": iter([b"x" * 60_000, b"x" * 60_000])}, 413, "body_too_large"),
        (
            {"content": b"input=a", "headers": {"content-type": "application/x-www-form-urlencoded"}},
            415,
            None,
        ),
        ({"content": b"{}", "headers": {"content-encoding": "br"}}, 415, None),
        ({"content": b'{"input": '}, 400, "malformed_request"),
        ({"content": b'{"input": "\xff"}'}, 400, "malformed_request"),
        ({"content": b""}, 400, "malformed_request"),
        ({"content": b"[" * 50_000}, 400, "malformed_request"),
        ({"content": b"1" * 5_000}, 400, "malformed_request"),
        ({"content": b'{"input": NaN}'}, 400, "malformed_request"),
    ],
)
def test_bodies_that_are_none_are_refused(
    front: Front, sent: dict[str, Any], status: int, code: str | None
) -> None:
    """Too large, of another kind, compressed or no JSON: a sentence in OpenAI's form, and no stack trace."""
    answer = front.post(**sent)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == (code or "unsupported_media_type")
    assert "Traceback" not in answer.text
    assert len(error["message"]) > 10


def test_a_body_that_never_ends_is_given_up(tmp_path: Path) -> None:
    """Who sends half a body and then nothing holds a place for a limited time only."""
    with gateway(Engine(), tmp_path, body_timeout=0.2) as front:
        parts = urlsplit(front.addresses.http)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=PATIENCE)
        connection.putrequest("POST", "/v1/embeddings")
        connection.putheader("Authorization", f"Bearer {front.key}")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b'{"input": ')
        answer = connection.getresponse()
        assert answer.status == 408
        assert json.loads(answer.read())["error"]["code"] == "request_timeout"
        connection.close()


def test_a_caller_who_hangs_up_costs_nobody_anything(front: Front) -> None:
    """Half a request and a closed connection leave the gateway as it was."""
    parts = urlsplit(front.addresses.http)
    with socket.create_connection((str(parts.hostname), parts.port or 0)) as caller:
        head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {front.key}\r\n"
        caller.sendall(f'{head}Content-Length: 1000\r\n\r\n{{"input": '.encode())
    assert front.post(json=CALL).status_code == 200


def test_what_nobody_waits_for_is_given_up(tmp_path: Path) -> None:
    """A caller who hangs up frees the place that the call had at the engine."""
    engine = Engine()
    begun, ended = threading.Event(), threading.Event()

    async def during(call: Call) -> None:
        if b"long" in call.body:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    engine.during = during
    with gateway(engine, tmp_path) as front:
        parts = urlsplit(front.addresses.http)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port)
        headers = {"authorization": f"Bearer {front.key}"}
        connection.request("POST", "/v1/embeddings", json.dumps({"input": "long"}), headers)
        assert begun.wait(PATIENCE)
        connection.close()
        assert ended.wait(PATIENCE)
        assert front.post(json=CALL).status_code == 200


def test_what_is_under_way_is_answered_before_the_end(tmp_path: Path) -> None:
    """Whoever stops a gateway costs nobody an answer: new calls find another one, old ones are finished."""
    engine = Engine()
    begun, release = threading.Event(), threading.Event()

    async def during(call: Call) -> None:
        if b"long" in call.body:
            begun.set()
            await asyncio.to_thread(release.wait, PATIENCE)

    engine.during = during
    with ThreadPoolExecutor(2) as pool, gateway(engine, tmp_path) as front:

        def by_grpc() -> bytes:
            with grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://")) as channel:
                call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                    "/babelclip.v1.Embedder/Embed"
                )
                sent = pb.EmbedItemsRequest(items=[pb.Item(text="long")]).SerializeToString()
                answer: bytes = call(
                    sent, metadata=(("authorization", f"Bearer {front.key}"),), timeout=PATIENCE
                )
                return answer

        typed = pool.submit(by_grpc)
        assert begun.wait(PATIENCE)
        begun.clear()
        plain = pool.submit(front.post, json={"input": "long"})
        assert begun.wait(PATIENCE)
        front.stop()
        for address in (front.addresses.http, front.addresses.grpc):
            parts = urlsplit(address)
            # Refused, or reset where it was taken just before.
            with contextlib.suppress(ConnectionError):
                while True:  # until it listens no more
                    socket.create_connection((str(parts.hostname), parts.port or 0), timeout=PATIENCE).close()
        release.set()
        assert plain.result(PATIENCE).status_code == 200
        assert pb.EmbedItemsResponse.FromString(typed.result(PATIENCE)).dim == 32


def test_addresses_and_methods_that_there_are_not_are_named(front: Front) -> None:
    """Whoever mistypes is told in the same form as everything else."""
    bearer = {"authorization": f"Bearer {front.key}"}
    missing = front.get("/v1/embedding", **bearer)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "unknown_path")
    slash = front.get("/v1/models/clip/", host="elsewhere.example", **bearer)
    assert slash.status_code == 404
    assert "location" not in front.get("/livez/", host="elsewhere.example", **bearer).headers
    wrong = front.get("/v1/embeddings", **bearer)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"
    # The addresses that would be a model's as well, if its name ended so.
    for address in ("/v1/models/clip:predict", "/v2/models/clip/infer", "/v2/models/clip/versions/1.0/infer"):
        wrong = front.get(address, **bearer)
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST"), address
        assert wrong.json()["error"] == "this address takes POST alone"


def test_it_listens_on_ipv6(tmp_path: Path) -> None:
    """An address of version 6 stands in brackets, for HTTP and gRPC."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with gateway(Engine(), tmp_path, host="::1") as front:
        assert front.addresses.http.startswith("http://[::1]:")
        assert front.addresses.grpc.startswith("grpc://[::1]:")
        assert front.post(json=CALL).status_code == 200


def test_health_says_whether_the_models_embed(tmp_path: Path) -> None:
    """The process lives while the engine is away, and is ready when both towers give their golden items."""
    engine = Engine()
    with gateway(engine, tmp_path) as front:
        assert front.get("/healthz").json() == front.get("/livez").json() == {"status": "ok"}
        answer = front.get("/readyz")
        assert answer.status_code == 200
        assert answer.json()["models"] == {
            "clip": {"status": "ready", "version": "1.0", "space": "in-memory"}
        }
    away = Engine()
    away.fail_with(Unavailable("no answer from 127.0.0.1:7070", retryable=False))
    (tmp_path / "away").mkdir()
    with gateway(away, tmp_path / "away") as front:
        assert front.get("/healthz").status_code == 200
        answer = front.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["models"]["clip"]["code"] == "unavailable"
        assert "127.0.0.1" not in answer.text
        assert front.get("/v1/models", authorization=f"Bearer {front.key}").json()["data"][0]["id"] == "clip"


def test_a_browsers_page_may_call_where_the_operator_allows_it(front: Front, tmp_path: Path) -> None:
    """The allowed origin gets its answers, refusals too; others, and all without the setting, do not."""
    asked = {"origin": PAGE, "access-control-request-method": "POST"}
    asked["access-control-request-headers"] = "authorization,content-type,babelclip-track,babelclip-version"
    url = f"{front.addresses.http}/v1/embeddings"
    answer = httpx.options(url, headers=asked)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
    assert front.post(json=CALL, headers={"origin": PAGE}).headers["access-control-allow-origin"] == PAGE
    refusal = httpx.post(url, json=CALL, headers={"origin": PAGE})
    assert (refusal.status_code, refusal.headers["access-control-allow-origin"]) == (401, PAGE)
    other = httpx.options(url, headers={**asked, "origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers
    with gateway(Engine(), tmp_path) as closed:
        answer = closed.post(json=CALL, headers={"origin": PAGE})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


def test_the_description_has_every_call(front: Front) -> None:
    """The OpenAPI document and the page name the addresses that there are, with the limits in force."""
    document = front.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    bearer = {"authorization": f"Bearer {front.key}"}
    for path, methods in document["paths"].items():
        (method,) = methods
        address = path.replace("{model}", "clip").replace("{version}", "1.0").replace("{tower}", "text")
        answer = httpx.request(method, front.addresses.http + address, headers=bearer)
        assert answer.status_code in (200, 400, 409), path
        assert ("security" in methods[method]) == (path not in OPEN)
    assert set(document["paths"]) >= OPEN
    fields = document["paths"]["/v1/embeddings"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    assert fields["properties"]["input"]["oneOf"][1]["maxItems"] == 2048
    page = front.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "POST /v1/embeddings" in page.text
    assert "<script" not in page.text


def test_the_document_has_every_call() -> None:
    """A route that the document leaves out is one that nobody finds (collections have their own test)."""

    async def paths() -> set[str]:
        served = models(Engine())
        routes = build(served, Settings(), None, Metrics()).routes
        await served.close()
        return {re.sub(r":path}", "}", route.path) for route in routes if isinstance(route, Route)}

    # The page's own addresses are no calls, and one route takes a tower with and without its version.
    calls = {path for path in asyncio.run(paths()) if not re.match("/(ui.*|v1/(collections|jobs).*)?$", path)}
    assert set(describe(Settings())["paths"]) == calls | {"/predictions/{tower}/{version}"}


def test_a_mistake_of_ours_tells_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error is a 500 with a sentence; how it came about is in the log alone."""
    engine = Engine()
    with gateway(engine, tmp_path) as front:
        front.post(json=CALL)

        def fail(call: object) -> None:
            raise RuntimeError("a secret of the machine")

        engine.before = fail
        answer = front.post(json=CALL)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert "a secret of the machine" in caplog.text
