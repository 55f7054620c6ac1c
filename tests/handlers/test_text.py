"""The text tower behind TorchServe's own message code: forms, errors, order and independence."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.clip_text import TextHandler
from handlers.embedding_pb2 import EmbedRequest
from handlers.runtime.runner import Runner
from tests.handlers.conftest import DIM, LIMITS, MAX_TOKENS, SPACE
from tests.handlers.worker import Call, Reply, Worker, form, grpc, http

PROTOBUF = "application/x-protobuf"
GOOD = "a red heart"


def protobuf(*texts: bytes, **fields: Any) -> bytes:
    return EmbedRequest(texts=texts, **fields).SerializeToString()


def vectors(reply: Reply) -> np.ndarray:
    return np.frombuffer(reply.message.vectors, dtype="<f4").reshape(-1, DIM)


def codes(reply: Reply) -> dict[int, str]:
    return {error.index: error.code for error in reply.message.errors}


@pytest.fixture(scope="session")
def clean(text: Worker) -> np.ndarray:
    """The vector of GOOD, embedded by itself."""
    (reply,) = text.send(grpc(request=protobuf(GOOD.encode())))
    vector: np.ndarray = vectors(reply)[0]
    return vector


@pytest.mark.parametrize(
    "call",
    [
        grpc(request=protobuf(GOOD.encode())),
        grpc(request=protobuf(GOOD.encode(), space=SPACE)),
        grpc(data=GOOD.encode()),
        grpc(body=GOOD.encode()),
        http(protobuf(GOOD.encode()), PROTOBUF),
        http(protobuf(GOOD.encode()), "application/protobuf"),
        http(GOOD.encode(), "text/plain", Accept=PROTOBUF),
        http(json.dumps({"inputs": [GOOD]}).encode(), "application/json", accept=PROTOBUF),
        form("multipart/form-data; boundary=x", data=GOOD.encode(), Accept=PROTOBUF),
    ],
)
def test_every_form_gives_the_same_protobuf(text: Worker, clean: np.ndarray, call: Call) -> None:
    """A vector does not depend on the wire form that its text came in."""
    (reply,) = text.send(call)
    message = reply.message
    assert (reply.status, reply.content_type, message.space, message.dim) == (200, PROTOBUF, SPACE, DIM)
    assert (message.logit_scale, message.version) == (20.0, "1.0")
    assert not message.errors
    assert not message.HasField("error")
    np.testing.assert_array_equal(vectors(reply), clean[None])
    assert np.linalg.norm(clean) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        http(GOOD.encode(), "text/plain"),
        http(GOOD.encode(), "text/plain; charset=UTF-8"),
        http(GOOD.encode(), "application/octet-stream"),
        http(GOOD.encode()),
        http(protobuf(GOOD.encode()), PROTOBUF, accept="application/json"),
        form("multipart/form-data; boundary=x", data=GOOD.encode()),
        form("application/x-www-form-urlencoded", data=GOOD.encode()),
        http(json.dumps({"inputs": GOOD, "space": SPACE}).encode(), "application/json"),
        http(json.dumps({"inputs": [GOOD], "space": None}).encode(), "application/json; charset=utf-8"),
    ],
)
def test_every_readable_form_gives_exact_json(text: Worker, clean: np.ndarray, call: Call) -> None:
    """JSON numbers give back the same float32 bits as protobuf."""
    (reply,) = text.send(call)
    answer = json.loads(reply.body)
    assert (reply.status, reply.content_type) == (200, "application/json")
    assert np.array(answer.pop("embeddings"), dtype=np.float32).tobytes() == clean.tobytes()
    facts = {"space": SPACE, "version": "1.0", "dim": DIM, "logit_scale": 20.0}
    assert answer == {**facts, "errors": [], "truncated": [], "unknown": []}


BAD_ITEMS = [
    (b"", "empty_item", 400),
    (b" \t\n\xe3\x80\x80", "empty_item", 400),
    ("\u200b\ufeff".encode(), "empty_item", 400),
    (b"\xff\xfe heart", "invalid_utf8", 400),
    (b"heart " * 40, "text_too_long", 413),
    (b"a poison heart", "internal", 500),
    (b"notanumber", "internal", 500),
]


@pytest.mark.parametrize(("item", "code", "status"), BAD_ITEMS)
def test_a_bad_single_text_sets_the_status(text: Worker, item: bytes, code: str, status: int) -> None:
    """A raw text that cannot be embedded answers with its code's HTTP status, in JSON and in protobuf."""
    as_json, as_protobuf = text.send(http(item, "text/plain"), http(item, "text/plain", accept=PROTOBUF))
    error = json.loads(as_json.body)["error"]
    assert (as_json.status, error["code"]) == (status, code)
    assert as_json.content_type == "application/json"
    assert error["message"]
    assert (as_protobuf.status, codes(as_protobuf)) == (status, {0: code})


@pytest.mark.parametrize("position", range(6))
@pytest.mark.parametrize(("item", "code", "status"), BAD_ITEMS)
def test_a_bad_text_costs_only_itself(
    text: Worker, clean: np.ndarray, item: bytes, code: str, status: int, position: int
) -> None:
    """Wherever a bad text stands in a batch of requests, all others have the vectors of a clean run."""
    items = [GOOD.encode()] * 5
    items.insert(position, item)
    calls = [grpc(request=protobuf(*items[:2])), http(protobuf(*items[2:4]), PROTOBUF)]
    calls.append(grpc(request=protobuf(*items[4:])))
    replies = text.send(*calls)
    assert [reply.status for reply in replies] == [200, 200, 200]
    rows = np.concatenate([vectors(reply) for reply in replies])
    np.testing.assert_allclose(np.delete(rows, position, axis=0), np.tile(clean, (5, 1)), atol=1e-6)
    assert not rows[position].any()
    found = {
        2 * number + index: c for number, reply in enumerate(replies) for index, c in codes(reply).items()
    }
    assert found == {position: code}


@pytest.mark.parametrize(
    ("call", "code", "status"),
    [
        (http(b"\xff\xff", PROTOBUF), "malformed_request", 400),
        (http(b"{", "application/json"), "malformed_request", 400),
        (http(b"[" * 100_000, "application/json"), "malformed_request", 400),
        (http(b'["a"]', "application/json"), "malformed_request", 400),
        (http(b'"a"', "application/json"), "malformed_request", 400),
        (http(b'{"inputs": 3}', "application/json"), "malformed_request", 400),
        (http(b'{"inputs": ["a"], "space": 3}', "application/json"), "malformed_request", 400),
        (http(protobuf(b"a", space="another"), PROTOBUF), "space_mismatch", 409),
        (http(b'{"inputs": ["a"], "space": "another"}', "application/json"), "space_mismatch", 409),
        (http(protobuf(*[b"a"] * 17), PROTOBUF), "too_many_items", 413),
        (http(json.dumps({"inputs": ["a"] * 17}).encode(), "application/json"), "too_many_items", 413),
        (http(protobuf(), PROTOBUF), "empty_request", 400),
        (http(b'{"inputs": []}', "application/json"), "empty_request", 400),
        (http(b""), "empty_request", 400),
        (http(b"x", "application/xml"), "unsupported_media_type", 415),
        (http(b"a cat", "text/plain", url_path="v2/embeddings"), "unknown_path", 404),
        (form("application/x-www-form-urlencoded", a=b""), "unsupported_media_type", 415),
        (form("multipart/form-data; boundary=x"), "empty_request", 400),
        (http("ä".encode("latin-1"), "text/plain; charset=latin-1"), "unsupported_media_type", 415),
        (Call({"explain": "False"}, []), "empty_request", 400),
    ],
)
def test_a_refused_request_says_why(
    text: Worker, clean: np.ndarray, call: Call, code: str, status: int
) -> None:
    """A refused request has its code and status, and the request beside it is served."""
    reply, good = text.send(call, grpc(data=GOOD.encode()))
    if reply.content_type == PROTOBUF:
        error = {"code": reply.message.error.code, "message": reply.message.error.message}
        assert not reply.message.vectors
    else:
        error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"]) == (status, code)
    assert error["message"]
    np.testing.assert_allclose(vectors(good), clean[None], atol=1e-6)


@pytest.mark.parametrize(
    "call", [Call({}, []), grpc(other=b"a"), grpc(request=b"\xff\xff"), grpc(explain=b"a")]
)
def test_grpc_errors_are_in_the_payload(text: Worker, call: Call) -> None:
    """Over gRPC, where TorchServe drops statuses, a refusal is an EmbedResponse with an error."""
    (reply,) = text.send(call)
    assert reply.message.error.code == "malformed_request"


@pytest.mark.parametrize("call", [grpc(data=b"a"), grpc(request=b"\xff"), grpc(explain=b"x", data=b"a")])
def test_grpc_items_close_the_streaming_trap(text: Worker, call: Call) -> None:
    """Every gRPC answer ends the stream, whatever keys its input has; no HTTP answer has the header."""
    over_grpc, over_http = text.send(call, http(b"a", "text/plain"))
    assert over_grpc.headers["ts_stream_next"] == "false"
    assert "ts_stream_next" not in over_http.headers


def test_wrong_tower(text: Worker) -> None:
    """Images sent to the text tower are refused one by one; the texts beside them are embedded."""
    mixed, raw, uri = text.send(
        grpc(request=protobuf(b"a", images=[b"\xff\xd8"])),
        http(b"\xff\xd8", "image/jpeg"),
        http(b'{"inputs": ["data:image/png;base64,AAAA", 3, "a"]}', "application/json"),
    )
    assert codes(mixed) == {1: "wrong_tower"}
    assert vectors(mixed)[0].any()
    assert (raw.status, json.loads(raw.body)["error"]["code"]) == (400, "wrong_tower")
    answer = json.loads(uri.body)
    assert [error["code"] for error in answer["errors"]] == ["wrong_tower", "invalid_item"]
    assert [row is None for row in answer["embeddings"]] == [True, True, False]


def test_long_texts_are_cut_and_reported(text: Worker) -> None:
    """A text of more tokens than the tower takes is the same as its beginning, and is listed as truncated."""
    words = ["red"] * (MAX_TOKENS - 2)
    exact, longer = " ".join(words).encode(), " ".join([*words, "blue", "star"]).encode()
    reply, as_json = text.send(
        grpc(request=protobuf(b"a", longer, exact)),
        http(json.dumps({"inputs": longer.decode()}).encode(), "application/json"),
    )
    assert list(reply.message.truncated) == [1]
    np.testing.assert_allclose(vectors(reply)[1], vectors(reply)[2], atol=1e-6)
    assert json.loads(as_json.body)["truncated"] == [0]


def test_texts_of_unknown_letters_are_embedded_and_reported(text: Worker) -> None:
    """A caller learns that a vector tells little of its text; symbols beside known words are no reason."""
    asked = ["a red heart", "a 𓀀𓀁 heart", "𓀀𓀁", "☂ ☂", "a red ☂", "", "red 7", "<unk>"]
    reply, as_json = text.send(
        grpc(request=protobuf(*(one.encode() for one in asked))),
        http(json.dumps({"inputs": asked}).encode(), "application/json"),
    )
    assert list(reply.message.unknown) == [1, 2, 3, 6, 7]
    assert codes(reply) == {5: "empty_item"}
    assert [bool(row.any()) for row in vectors(reply)] == [bool(one) for one in asked]
    assert json.loads(as_json.body)["unknown"] == [1, 2, 3, 6, 7]


def test_an_archive_that_names_no_unknown_token_reports_none(text_folder: Path, tmp_path: Path) -> None:
    """Byte-level tokenizers know every text, and older archives do not say."""
    shutil.copytree(text_folder, tmp_path / "text")
    meta = json.loads((text_folder / "meta.json").read_text(encoding="utf-8"))
    meta["text"]["unknown_id"] = None
    (tmp_path / "text" / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    (reply,) = Worker(TextHandler, tmp_path / "text", dict(LIMITS)).send(grpc(request=protobuf("𓀀".encode())))
    assert not reply.message.unknown
    assert vectors(reply).any()


def test_half_a_surrogate_pair_is_invalid(text: Worker) -> None:
    """JSON can spell a string that is no Unicode text; it is refused, not passed to the tokenizer."""
    (reply,) = text.send(http(b'{"inputs": ["\\ud800", "a"]}', "application/json"))
    assert [error["code"] for error in json.loads(reply.body)["errors"]] == ["invalid_utf8"]


def test_incidents_are_logged_without_content(text: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """The id in an internal error stands in the log, the caller's text does not, and no trace is sent."""
    secret = "a-secret-word"
    with caplog.at_level(logging.ERROR):
        (reply,) = text.send(http(f"poison {secret}".encode(), "text/plain"))
    message = json.loads(reply.body)["error"]["message"]
    assert message.split()[-1] in caplog.text
    assert secret not in caplog.text
    assert "Traceback" not in message


def test_a_failing_tokenizer_costs_only_its_text(text: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a panic in the tokenizer, which is no Exception, stays with the text that caused it."""

    class Panic(BaseException):
        pass

    class Touchy:
        def encode_batch_fast(self, texts: list[str]) -> list[Any]:
            if "star" in texts:
                raise Panic
            return list(tokenizer.encode_batch_fast(texts))

    tokenizer = text.handler.tokenizer  # type: ignore[attr-defined]
    monkeypatch.setattr(text.handler, "tokenizer", Touchy())
    (reply,) = text.send(grpc(request=protobuf(b"a", b"star", b"red")))
    assert codes(reply) == {1: "internal"}


def test_a_bug_in_grouping_costs_no_other_request(text: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a tower's own code fails, every item has an answer and refused requests keep their reason."""

    def broken(*_: object) -> Any:
        raise KeyError("content")

    monkeypatch.setattr(text.handler, "groups", broken)
    first, second = text.send(grpc(request=protobuf(b"a", b"")), http(b"x", "application/xml"))
    assert codes(first) == {0: "internal", 1: "internal"}
    assert second.status == 415


texts = st.lists(st.one_of(st.text(max_size=60).map(str.encode), st.binary(max_size=60)), max_size=10)


@settings(max_examples=60)
@given(batch=st.lists(texts, min_size=1, max_size=5))
def test_any_batch_has_one_outcome_for_each_item(text: Worker, batch: list[list[bytes]]) -> None:
    """Same length, same order: each row is either a unit vector or has exactly one error."""
    for items, reply in zip(batch, text.send(*(grpc(request=protobuf(*t)) for t in batch)), strict=True):
        if not items:
            assert reply.message.error.code == "empty_request"
            continue
        rows = vectors(reply)
        assert len(rows) == len(items)
        assert list(codes(reply)) == [index for index, row in enumerate(rows) if not row.any()]


@settings(max_examples=150)
@given(
    body=st.one_of(
        st.binary(max_size=80),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(st.sampled_from(["inputs", "space", "x"]), inner)
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    kind=st.sampled_from(
        ["", "text/plain", "application/json", PROTOBUF, "application/octet-stream", "image/png"]
    ),
    over_grpc=st.booleans(),
)
def test_any_body_is_answered(text: Worker, body: bytes, kind: str, over_grpc: bool) -> None:
    """No bytes in any form fail the batch or reach the catch-all of unexpected errors."""
    call = grpc(**{"request" if kind == PROTOBUF else "data": body}) if over_grpc else http(body, kind)
    reply, good = text.send(call, grpc(data=b"a"))
    assert reply.status != 500
    assert vectors(good).any()


def test_a_pass_has_no_more_tokens_than_allowed(text_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long texts go in passes of fewer rows, from the warm-up on, so that memory has a bound."""
    met: list[tuple[int, int]] = []
    call = Runner.__call__

    def watched(self: Runner, *arrays: np.ndarray) -> np.ndarray:
        met.append(arrays[0].shape)
        return call(self, *arrays)

    monkeypatch.setattr(Runner, "__call__", watched)
    worker = Worker(TextHandler, text_folder, {"max_pass_tokens": 20})
    reply, *_ = worker.send(
        http(json.dumps({"inputs": ["a red heart star"] * 9}).encode(), "application/json")
    )
    assert json.loads(reply.body)["errors"] == []
    assert all(rows * length <= 20 for rows, length in met)
    assert max(rows for rows, _ in met) > 1


@pytest.mark.parametrize(
    ("fixed", "a_token", "worth"), [(20.0, 0.5, 40.0), (0.0, 0.5, 0.0), (20.0, 0.0, 48.0), (1.0, -0.1, 48.0)]
)
def test_a_pass_is_worth_what_it_costs_without_tokens(
    text: Worker, monkeypatch: pytest.MonkeyPatch, fixed: float, a_token: float, worth: float
) -> None:
    """Two passes of different size tell it; where noise drowned their difference, padding counts as free."""
    handler = text.handler
    assert isinstance(handler, TextHandler)
    monkeypatch.setattr(handler, "_seconds", lambda rows, length: fixed + a_token * rows * length)
    assert handler._pass_cost() == pytest.approx(worth)


def test_a_text_that_comes_again_is_computed_once(
    text: Worker, clean: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for the same text in a batch shares its pass, or its error, also within a request."""
    rows: list[int] = []
    run = Runner.__call__

    def counted(runner: Runner, *arrays: Any) -> Any:
        rows.append(len(arrays[0]))
        return run(runner, *arrays)

    monkeypatch.setattr(Runner, "__call__", counted)
    replies = text.send(
        grpc(request=protobuf(GOOD.encode(), b"\xff", GOOD.encode())),
        grpc(request=protobuf(b"\xff", GOOD.encode())),
        http(json.dumps({"inputs": [GOOD]}).encode(), "application/json", accept=PROTOBUF),
    )
    assert [codes(reply) for reply in replies] == [{1: "invalid_utf8"}, {0: "invalid_utf8"}, {}]
    found = [vectors(reply)[index] for reply, index in zip((replies[0], *replies), (0, 2, 1, 0), strict=True)]
    for vector in found:
        np.testing.assert_array_equal(vector, clean)
    assert sum(rows) <= 2  # as bytes over gRPC, and as a string of JSON
