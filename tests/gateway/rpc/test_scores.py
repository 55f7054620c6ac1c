"""Similarity, Classify and Rerank over a real channel: the same scores as over HTTP, errors and deadlines."""

import base64
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from babelclip.embedding_pb2 import EmbedRequest
from gateway.rpc import embedder_pb2 as pb
from gateway.scoring.scorer import MAX_PAIRS
from tests.e2e.support import PATIENCE
from tests.gateway.front import Front, gateway
from tests.gateway.rpc.test_service import channel, details
from tests.gateway.scored import BROKEN, CALIBRATION, CAR, CAT, DOG, answered, engine, image

Caller = Any


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway before two versions, of which one has a calibration; no test of this file changes them."""
    folder = tmp_path_factory.mktemp("front")
    CALIBRATION.save(folder / "calibration.json")
    given = {"calibrations": (str(folder / "calibration.json"),), "max_items": 200}
    with gateway(engine(), folder, **given) as front:
        yield front


@pytest.fixture
def call(front: Front) -> Iterator[Caller]:
    """Calls of the service by their names, with the key."""

    def called(name: str, request: Any, timeout: float = PATIENCE) -> Any:
        method = opened.unary_unary(
            f"/babelclip.v1.Embedder/{name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=getattr(pb, f"{name}Response").FromString,
        )
        return method(request, metadata=(("authorization", f"Bearer {front.key}"),), timeout=timeout)

    with channel(front) as opened:
        yield called


def items(*given: str | bytes) -> list[pb.Item]:
    """Texts and images."""
    return [pb.Item(text=item) if isinstance(item, str) else pb.Item(image=item) for item in given]


def test_similarity_is_that_of_http(front: Front, call: Caller) -> None:
    """Row after row of cosines, probabilities and matches; NaN where an item has no vector."""
    response = call(
        "Similarity",
        pb.SimilarityRequest(queries=items(CAT, BROKEN, "cat"), candidates=items("cat", "poison", DOG)),
    )
    expected = answered(
        front,
        "/v1/similarity",
        queries=[image(CAT), image(BROKEN), "cat"],
        candidates=["cat", "poison", image(DOG)],
        errors="return",
    )
    for field in ("cosines", "probabilities", "matches"):
        rows = np.array(getattr(response, field)).reshape(3, 3)
        np.testing.assert_allclose(rows, np.array(expected[field], np.float32), atol=1e-6, equal_nan=True)
    assert [(error.index, error.code) for error in response.queries.errors] == [(1, "image_undecodable")]
    assert [(error.index, error.message) for error in response.candidates.errors] == [(1, "it is too long")]
    assert (response.model, response.space, response.logit_scale) == ("clip@1.0", "in-memory", 10.0)
    newer = pb.SimilarityRequest(model="clip@2.0", queries=items(CAT), candidates=items("cat"))
    assert list(call("Similarity", newer).matches) == []


def test_classification_has_a_label_or_none(call: Caller) -> None:
    """What is absent is told from what is empty or 0: no match, no calibration, no vector."""
    request = pb.ClassifyRequest(
        items=items(DOG, CAR, BROKEN, "cat"), labels=["cat", "dog"], templates=["{}", "the {}"]
    )
    response = call("Classify", request)
    dog, car, broken, text = response.classifications
    assert (dog.label, dog.best, car.HasField("label"), car.best) == ("dog", "dog", False, "cat")
    assert dog.match > 0.9 > 0.1 > car.match
    assert len(dog.cosines) == 2
    assert dog.probability == dog.probabilities[1]
    assert sum(dog.probabilities) == pytest.approx(1.0)
    assert (broken.HasField("label"), broken.best, list(broken.cosines)) == (False, "", [])
    assert [(error.index, error.code) for error in response.errors] == [(2, "image_undecodable")]
    assert (text.label, text.HasField("match")) == ("cat", False)
    request.threshold = 0.0
    assert call("Classify", request).classifications[1].label == "cat"


def test_documents_are_ranked(front: Front, call: Caller) -> None:
    """Best first by their places in the request, as many as are asked for."""
    request = pb.RerankRequest(query=items(DOG)[0], documents=items("cat", BROKEN, DOG, "dog"))
    response = call("Rerank", request)
    expected = answered(
        front,
        "/v1/rerank",
        query=image(DOG),
        documents=["cat", {"image": base64.b64encode(BROKEN).decode()}, image(DOG), "dog"],
        errors="return",
    )
    assert [result.index for result in response.results] == [row["index"] for row in expected["results"]]
    assert [result.index for result in response.results] == [2, 3, 0]
    scores = [result.relevance_score for result in response.results]
    np.testing.assert_allclose(scores, [row["relevance_score"] for row in expected["results"]], atol=1e-6)
    assert [result.HasField("match") for result in response.results] == [False, True, True]
    assert [error.index for error in response.errors] == [1]
    request.top_n = 1
    assert [result.index for result in call("Rerank", request).results] == [2]


@pytest.mark.parametrize(
    ("name", "request_", "reason", "says"),
    [
        ("Similarity", pb.SimilarityRequest(queries=items("a")), "empty_request", '"candidates"'),
        (
            "Similarity",
            pb.SimilarityRequest(queries=items("a") * 101, candidates=items("a") * 100),
            "too_many_items",
            "201 items",
        ),
        ("Classify", pb.ClassifyRequest(labels=["a"]), "empty_request", '"items"'),
        ("Classify", pb.ClassifyRequest(items=items("a")), "malformed_request", "at least one label"),
        (
            "Classify",
            pb.ClassifyRequest(items=items("a"), labels=["a", "poison"]),
            "text_too_long",
            "labels[1]: it is too long",
        ),
        (
            "Classify",
            pb.ClassifyRequest(items=items("a"), labels=["a"], threshold=float("nan")),
            "malformed_request",
            "from 0 to 1",
        ),
        (
            "Classify",
            pb.ClassifyRequest(model="clip@2.0", items=items("a"), labels=["a"], threshold=0.5),
            "malformed_request",
            "no calibration",
        ),
        ("Rerank", pb.RerankRequest(query=items("a")[0]), "empty_request", '"documents"'),
        ("Rerank", pb.RerankRequest(documents=items("a")), "invalid_item", "query: the item holds neither"),
        (
            "Rerank",
            pb.RerankRequest(query=items("poison")[0], documents=items("a")),
            "text_too_long",
            "query: ",
        ),
    ],
)
def test_a_request_that_cannot_be_scored_ends_with_a_status(
    call: Caller, name: str, request_: Any, reason: str, says: str
) -> None:
    """INVALID_ARGUMENT, with the code for programs in its details."""
    with pytest.raises(grpc.RpcError) as caught:
        call(name, request_)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    info = ErrorInfo()
    assert details(caught.value).details[0].Unpack(info)
    assert info.reason == reason
    assert says in str(caught.value.details())


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("Similarity", pb.SimilarityRequest(queries=items("a"), candidates=items("b"))),
        ("Classify", pb.ClassifyRequest(items=items("a"), labels=["b"])),
        ("Rerank", pb.RerankRequest(query=items("a")[0], documents=items("b"))),
    ],
)
def test_the_callers_deadline_reaches_the_tower(front: Front, call: Caller, name: str, request_: Any) -> None:
    """A tower computes no longer than the caller of a score waits."""
    call(name, request_, timeout=20.0)
    sent = [EmbedRequest.FromString(each.body) for each in front.engine.calls]
    told = [request.timeout_ms for request in sent if b"b" in request.texts][-1]
    assert 0 < told < 25_000  # gRPC rounds what is left up; an engine that is told nothing has 30 seconds.


def test_the_largest_answer_is_taken_by_every_client(tmp_path: Path) -> None:
    """As many pairs as are allowed, with matches, stay below what gRPC's clients take by default."""
    CALIBRATION.save(tmp_path / "calibration.json")
    side = math.isqrt(MAX_PAIRS)
    request = pb.SimilarityRequest(queries=items(CAT) * side, candidates=items("cat") * side)
    with (
        gateway(engine(), tmp_path, calibrations=(str(tmp_path / "calibration.json"),)) as front,
        channel(front) as opened,
    ):
        method = opened.unary_unary(
            "/babelclip.v1.Embedder/Similarity",
            request_serializer=pb.SimilarityRequest.SerializeToString,
            response_deserializer=pb.SimilarityResponse.FromString,
        )
        response = method(request, metadata=(("authorization", f"Bearer {front.key}"),), timeout=PATIENCE)
    assert len(response.cosines) == len(response.probabilities) == len(response.matches) == side * side
