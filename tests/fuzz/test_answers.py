"""The fuzzer itself: it makes the same bodies again, and lets no wrong answer pass."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from babelclip.embedding_pb2 import EmbedResponse, ItemError, RequestError
from tests.e2e.support import Server
from tests.fuzz.answers import Judge
from tests.fuzz.bodies import KINDS, make
from tests.places import REPOSITORY

JSON = "application/json"
PROTOBUF = "application/x-protobuf"


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """A judge over a server that does not run."""
    keys = tmp_path / "key_file.json"
    keys.write_text(json.dumps({kind: {"key": f"{kind}-key"} for kind in ("inference", "management")}))
    server = Server("", "", "", "", "", queue_metrics=None, token_file=keys, space="", version="", pid=0)
    return Judge(server)


def own(status: int, kind: str, message: str = "x") -> tuple[int, str, bytes]:
    return status, JSON, json.dumps({"code": status, "type": kind, "message": message}).encode()


def refused(status: int, code: str, message: str = "x") -> tuple[int, str, bytes]:
    return status, JSON, json.dumps({"error": {"code": code, "message": message}}).encode()


def message(status: int, *codes: str, whole: str = "") -> tuple[int, str, bytes]:
    errors = [ItemError(index=index, code=code) for index, code in enumerate(codes)]
    error = RequestError(code=whole) if whole else None
    return status, PROTOBUF, EmbedResponse(errors=errors, error=error).SerializeToString()


def digest() -> str:
    """Of three hundred bodies."""
    return hashlib.sha256("".join(make(3, index).saved() for index in range(300)).encode()).hexdigest()


def test_a_seed_and_an_index_name_a_body() -> None:
    """A failure can be sent again, by another process too: a body depends on nothing but the two numbers."""
    script = "from tests.fuzz.test_answers import digest; print(digest())"
    path = os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "clients")))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == digest()
    assert make(3, 0).saved() != make(4, 0).saved()


def test_every_kind_comes_up() -> None:
    """A thousand bodies hold every kind, over HTTP, gRPC and streams."""
    bodies = [make(0, index) for index in range(1_000)]
    assert {body.transport for body in bodies} == {"http", "grpc", "stream"}
    assert len({body.kind for body in bodies}) == len(set(KINDS))


@pytest.mark.parametrize(
    "answer",
    [
        refused(400, "malformed_request"),
        refused(413, "text_too_long"),
        (200, JSON, b'{"embeddings": [null], "errors": [{"index": 0, "code": "invalid_item"}]}'),
        (200, JSON, b'{"object": "list", "data": []}'),
        (400, JSON, b'{"error": "malformed_request: x"}'),
        (409, "application/health+json", b'{"status": "fail", "output": "space_mismatch: x"}'),
        message(200),
        message(200, "image_truncated", "wrong_tower"),
        message(409, whole="space_mismatch"),
        own(404, "ModelNotFoundException"),
        own(500, "ErrorDataDecoderException"),
    ],
)
def test_documented_answers_pass(judge: Judge, answer: tuple[int, str, bytes]) -> None:
    """What docs/errors.md describes is no failure, in any of its forms."""
    assert judge.http(*answer).wrong == ""


@pytest.mark.parametrize(
    "answer",
    [
        refused(500, "internal"),
        refused(400, "unheard_of"),
        refused(413, "malformed_request"),
        refused(503, "canary_mismatch"),
        refused(400, "malformed_request", "Traceback (most recent call last)"),
        refused(400, "malformed_request", f"in {REPOSITORY}/handlers"),
        refused(400, "malformed_request", "management-key"),
        (200, JSON, b'{"errors": [{"index": 0, "code": "internal"}]}'),
        (200, JSON, b"{"),
        (200, JSON, b"[]"),
        (502, "text/html", b"<html>"),
        (400, JSON, b"{}"),
        (500, JSON, b'{"error": "internal: x"}'),
        message(200, "empty_item", "internal"),
        message(400, whole="space_mismatch"),
        message(500),
        (200, PROTOBUF, b"\xff"),
        own(500, "InternalServerException", "Worker died."),
        own(503, "ServiceUnavailableException"),
        own(507, "InternalServerException", "Worker died."),
    ],
)
def test_other_answers_do_not(judge: Judge, answer: tuple[int, str, bytes]) -> None:
    """A dead worker, an unexpected failure, an undocumented code or status, and a leak are all found."""
    assert judge.http(*answer).wrong


def test_grpc_is_judged_too(judge: Judge) -> None:
    """Over gRPC the codes are in the message, and a status is only right where TorchServe itself refuses."""
    assert not judge.grpc(message(200, "invalid_utf8")[2]).wrong
    assert not judge.grpc(message(200, whole="too_many_items")[2]).wrong
    assert judge.grpc(message(200, "internal")[2]).internal
    assert judge.grpc(b"\xff").wrong
    assert not judge.grpc_failure("INTERNAL", "x\norg.pytorch.serve.ModelNotFoundException").wrong
    assert not judge.grpc_failure("INTERNAL", "x\nBadRequestException.()").wrong
    assert judge.grpc_failure("INTERNAL", "Worker died.\norg.InternalServerException").wrong
    assert judge.grpc_failure("UNKNOWN", "x").wrong
    assert judge.grpc_failure("DEADLINE_EXCEEDED", "").wrong
