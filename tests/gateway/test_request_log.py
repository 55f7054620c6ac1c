"""The line of each request, and the id by which it is found: over HTTP and gRPC, for refusals too."""

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.request_log import take_id
from gateway.rpc import embedder_pb2 as pb
from tests.e2e.support import PATIENCE
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway before an engine in memory."""
    with gateway(Engine(), tmp_path_factory.mktemp("front")) as front:
        yield front


class Lines(logging.Handler):
    """What is written to the log of requests."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, Any]] = []
        self.raw = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.raw += record.getMessage()
        self.found.append(json.loads(record.getMessage()))

    def of(self, request_id: str) -> dict[str, Any]:
        """The one line of a request; it may come a moment after the answer."""
        give_up = time.monotonic() + PATIENCE
        while not (found := [line for line in self.found if line["id"] == request_id]):
            assert time.monotonic() < give_up, f"no line of {request_id}"
            time.sleep(0.01)
        (line,) = found
        return line


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The lines that a test causes."""
    log, handler = logging.getLogger("gateway.requests"), Lines()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler
    log.removeHandler(handler)
    log.setLevel(logging.NOTSET)


def test_a_request_over_http_has_a_line_and_its_id_comes_back(front: Front, lines: Lines) -> None:
    """The line says who called what, with how many items, and how it ended; of the items it says nothing."""
    answer = front.post(json={"input": ["ein Geheimnis", "b"]}, headers={"x-request-id": "shop-1/a"})
    assert answer.headers["x-request-id"] == "shop-1/a"
    line = lines.of("shop-1/a")
    assert {
        "key": "test",
        "call": "/v1/embeddings",
        "model": "clip",
        "items": 2,
        "status": "200",
    }.items() <= line.items()
    assert line["ms"] > 0
    assert front.key not in lines.raw
    assert "Geheimnis" not in lines.raw


def test_refusals_have_one_too(front: Front, lines: Lines) -> None:
    """Who was turned away can be found by the id as well; an id of another form is replaced."""
    refused = front.get("/v1/models", **{"x-request-id": "no-key"})
    assert (refused.status_code, refused.headers["x-request-id"]) == (401, "no-key")
    assert lines.of("no-key")["status"] == "401"
    odd = front.get("/nowhere", **{"x-request-id": "a b; c"})
    assert odd.headers["x-request-id"] != "a b; c"
    assert lines.of(odd.headers["x-request-id"])["call"] == "other"


def test_a_call_of_grpc_has_a_line(front: Front, lines: Lines) -> None:
    """The id comes as metadata."""
    with grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://")) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/babelclip.v1.Embedder/Embed")
        sent = pb.EmbedItemsRequest(items=[pb.Item(text="a")] * 3).SerializeToString()
        bearer = ("authorization", f"Bearer {front.key}")
        call(sent, metadata=(bearer, ("x-request-id", "typed")), timeout=PATIENCE)
    line = lines.of("typed")
    assert (line["key"], line["call"], line["model"], line["items"], line["status"]) == (
        *("test", "Embed", "clip", 3, "OK"),
    )


def test_probes_that_succeed_leave_no_line(front: Front, lines: Lines) -> None:
    """What watches every second fills no disk."""
    front.get("/livez")
    front.get("/readyz")
    front.get("/v1/models", **{"x-request-id": "after"})
    lines.of("after")
    assert {line["call"] for line in lines.found} == {"/v1/models"}


@given(st.text())
def test_an_id_can_stand_in_any_log(sent: str) -> None:
    """Nobody writes a line of their own into the log."""
    taken = take_id(sent)
    assert taken.isascii()
    assert taken.isprintable()
    assert 0 < len(taken) <= 128
