"""No response is larger than TorchServe takes: it would kill the worker, and with it the whole batch."""

from __future__ import annotations

import json

import numpy as np
import pytest

from handlers.config import Settings, TowerMeta
from handlers.embedding_pb2 import EmbedRequest
from handlers.outcomes import Embedding
from handlers.protocol.dialects import dialect_of
from handlers.protocol.envelope import read_envelope
from tests.handlers.conftest import DIM, LIMITS
from tests.handlers.worker import Call, Worker, grpc, http

# No float32 takes more digits.
LONGEST = np.full(768, np.float32(-1.2345679e-5))
# Room for some protobuf answers of 16 vectors, and not for one in JSON.
MOST = 16 * DIM * 4 + 100


@pytest.fixture
def narrow(text: Worker, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """A text tower whose answers have MOST bytes at most."""
    monkeypatch.setattr(text.handler, "settings", Settings(**LIMITS, max_response_bytes=MOST))
    return text


def in_protobuf(items: int) -> Call:
    return grpc(request=EmbedRequest(texts=[b"a"] * items).SerializeToString())


def in_json(items: int) -> Call:
    return http(json.dumps({"inputs": ["a"] * items}).encode(), "application/json")


def test_an_answer_that_is_too_large_is_refused(narrow: Worker) -> None:
    """The request learns the limit and what to do; the others of its batch are answered."""
    small, large, other = narrow.send(in_json(1), in_json(16), in_protobuf(16))
    assert (small.status, large.status) == (200, 413)
    error = json.loads(large.body)["error"]
    assert error["code"] == "response_too_large"
    assert f"{MOST:,}" in error["message"]
    assert len(other.message.vectors) == 16 * DIM * 4


def test_the_answers_of_a_batch_have_a_limit_together(narrow: Worker) -> None:
    """Beyond it large requests are told to come back, in their order, while small ones are answered."""
    replies = narrow.send(*[in_protobuf(16)] * 4, in_protobuf(1))
    found = [reply.message.error.code for reply in replies]
    assert found == ["", "", "overloaded", "overloaded", ""]
    assert sum(len(reply.body) for reply in replies if not reply.message.HasField("error")) <= 2 * MOST


def usual(dim: int) -> np.ndarray:
    """A unit vector as towers give them."""
    vector = np.random.default_rng(0).normal(size=dim).astype(np.float32)
    return vector / np.linalg.norm(vector)


@pytest.mark.slow  # renders the largest responses
@pytest.mark.parametrize("vector", [LONGEST[:768], LONGEST[:512], usual(1024), usual(1152)], ids=len)
def test_the_default_limits_fit_together(vector: np.ndarray) -> None:
    """As many items as a request may have fit in an answer of any form, up to 768 values of any length."""
    defaults, dim = Settings(), len(vector)
    outcomes = [Embedding(vector)] * defaults.max_items
    meta = TowerMeta("text", "0" * 16, dim, 100.0, "float32", None, None, None, None)  # type: ignore[arg-type]
    as_json = {"explain": "False", "Content-Type": "application/json"}
    as_openai = {**as_json, "url_path": "v1/embeddings"}
    envelopes = [
        read_envelope(as_openai, {"body": {"encoding_format": "float"}}),
        read_envelope(as_openai, {"body": {"encoding_format": "base64"}}),
        read_envelope(as_json, {"body": {"instances": []}}),
        read_envelope({}, {"body": b""}),
        read_envelope(as_json, {"body": {}}),
    ]
    sizes = [len(dialect_of(one).render(one, outcomes, meta).body) for one in envelopes]
    assert len(set(sizes)) == len(envelopes)
    assert max(sizes) <= defaults.max_response_bytes
    assert max(sizes) >= 13 * dim * defaults.max_items
