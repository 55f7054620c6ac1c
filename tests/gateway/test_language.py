"""The language of texts through the gateway: to the engine, into the cache, and in the list of models."""

from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from babelclip import Client
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.testing import InMemoryTransport
from gateway.rpc import embedder_pb2 as pb
from gateway.towers.base import ModelVersion
from gateway.towers.cache import keys
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway

TOLD = ["bn", "en"]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway with a cache before a model that is told languages."""
    engine = Engine(InMemoryTransport(languages=TOLD))
    with gateway(engine, tmp_path_factory.mktemp("gateway"), cache_mb=4) as running:
        yield running


@pytest.fixture(scope="module")
def untold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """One with a cache before a model that is told none."""
    with gateway(Engine(InMemoryTransport()), tmp_path_factory.mktemp("untold"), cache_mb=4) as running:
        yield running


def embeddings(front: Front, *texts: str, **fields: Any) -> dict[str, Any]:
    answer = front.post(json={"model": "clip", "input": texts, "errors": "return", **fields})
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def listed(front: Front) -> dict[str, Any]:
    answer = front.get("/v1/models", authorization=f"Bearer {front.key}")
    found: dict[str, Any] = answer.raise_for_status().json()["data"][0]
    return found


def test_the_same_text_in_two_languages_is_two_vectors(front: Front) -> None:
    """Also out of the cache, whose keys hold the language."""
    engine = front.engine.versions["1.0"]
    for _ in range(2):
        for language in ("bn", "en", ""):
            data = embeddings(front, "a text of its own", language=language)["data"]
            np.testing.assert_allclose(
                data[0]["embedding"],
                engine.vector_in(language, "a text of its own")
                if language
                else engine.vector("a text of its own"),
                atol=1e-6,
            )
    asked = [EmbedRequest.FromString(call.body) for call in front.engine.calls]
    assert sum(b"a text of its own" in request.texts for request in asked) == 3, "the second time is cached"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_babelclips_own_client_says_it_at_the_gateway(front: Front, protocol: str) -> None:
    """And is told there which languages there are."""
    engine = front.engine.versions["1.0"]
    with Client(getattr(front.addresses, protocol), token=front.key) as client:
        client.health()
        assert client.languages == ("bn", "en")
        found = client.embed_texts(["through", "the client"], language="bn")
    np.testing.assert_array_equal(found.vectors[1], engine.vector_in("bn", "the client"))


def test_one_that_the_model_lacks_costs_its_texts(front: Front) -> None:
    """The item's error says what is allowed; images have no language."""
    found = embeddings(front, "a", language="tlh")["data"][0]
    assert found["embedding"] is None
    assert found["error"]["code"] == "unknown_language"
    assert "bn, en" in found["error"]["message"]


@pytest.mark.parametrize(("language", "says"), [("x" * 65, "a language must be"), (7, '"language" must be')])
def test_what_can_be_no_tag_refuses_the_request(front: Front, language: object, says: str) -> None:
    """It does not reach the engine, whose client would not send it."""
    answer = front.post(json={"model": "clip", "input": "a", "language": language})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "language")
    assert says in answer.json()["error"]["message"]


def test_the_list_of_models_has_the_languages(front: Front, untold: Front) -> None:
    """Over HTTP and gRPC; of a model that is told none there is nothing to list."""
    embeddings(front, "a")
    entry = listed(front)
    assert (entry["languages"], entry["default_language"]) == (["bn", "en"], "bn")
    embeddings(untold, "a")
    assert "languages" not in listed(untold)


def test_the_service_over_grpc_takes_it(front: Front) -> None:
    """In the gateway's own messages, beside the items."""
    metadata = (("authorization", f"Bearer {front.key}"),)
    with grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://")) as channel:
        embed = channel.unary_unary(
            "/babelclip.v1.Embedder/Embed",
            request_serializer=pb.EmbedItemsRequest.SerializeToString,
            response_deserializer=pb.EmbedItemsResponse.FromString,
        )
        answer = embed(
            pb.EmbedItemsRequest(items=[pb.Item(text="by grpc")], language="bn"), metadata=metadata
        )
        models = channel.unary_unary(
            "/babelclip.v1.Embedder/Models",
            request_serializer=pb.ModelsRequest.SerializeToString,
            response_deserializer=pb.ModelsResponse.FromString,
        )(pb.ModelsRequest(), metadata=metadata)
    vector = front.engine.versions["1.0"].vector_in("bn", "by grpc")
    np.testing.assert_array_equal(np.frombuffer(answer.vectors, "<f4"), vector)
    assert list(models.models[0].languages) == TOLD


def test_a_model_that_is_told_none_has_one_vector_of_a_text(untold: Front) -> None:
    """Whatever language is said, it is computed once and kept once."""
    first = embeddings(untold, "the same", language="bn")["data"][0]["embedding"]
    assert embeddings(untold, "the same", language="tlh")["data"][0]["embedding"] == first
    asked = [EmbedRequest.FromString(call.body) for call in untold.engine.calls]
    assert sum(b"the same" in request.texts for request in asked) == 1
    assert {request.language for request in asked} == {""}


def test_no_two_languages_share_a_key() -> None:
    """Nor does one together with a text make the key of another."""
    version = ModelVersion("1.0", "space", 8, 20.0)
    made = [keys("clip", version, "text", [text], said) for said in ("", "b", "bn") for text in ("na", "a")]
    assert len({key for (key,) in made}) == 6


def scored(front: Front, path: str, **body: Any) -> Any:
    """The answer of one of the calls that score."""
    url, headers = f"{front.addresses.http}/v1/{path}", {"authorization": f"Bearer {front.key}"}
    return httpx.post(url, json=body, headers=headers, timeout=60).raise_for_status().json()


def test_scores_are_of_texts_in_the_language_that_is_said(front: Front) -> None:
    """Similarity and reranking compare what the model makes of texts in that language, by HTTP and gRPC."""
    engine = front.engine.versions["1.0"]
    texts = ["a scored text", "another scored text"]
    one, other = (engine.vector_in("bn", text) for text in texts)
    cosine = float(one @ other)
    assert cosine != pytest.approx(float(engine.vector(texts[0]) @ engine.vector(texts[1])), abs=1e-4)
    found = scored(front, "similarity", queries=texts[:1], candidates=texts[1:], language="bn")
    assert found["cosines"][0][0] == pytest.approx(cosine, abs=1e-5)
    found = scored(front, "rerank", query=texts[0], documents=texts[1:], language="bn")
    assert found["results"][0]["relevance_score"] == pytest.approx(cosine, abs=1e-5)
    items = [pb.Item(text=text) for text in texts]
    similar = pb.SimilarityRequest(queries=items[:1], candidates=items[1:], language="bn")
    assert called(front, "Similarity", similar, pb.SimilarityResponse).cosines[0] == pytest.approx(
        cosine, abs=1e-5
    )
    ranked = pb.RerankRequest(query=items[0], documents=items[1:], language="bn")
    (result,) = called(front, "Rerank", ranked, pb.RerankResponse).results
    assert result.relevance_score == pytest.approx(cosine, abs=1e-5)


def test_kserves_calls_say_it_beside_the_texts(front: Front) -> None:
    """V1 beside the instances, the Open Inference Protocol among its parameters; both refuse what is none."""
    vector = front.engine.versions["1.0"].vector_in("bn", "by KServe")
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["by KServe"]}

    def post(language: object) -> list[httpx.Response]:
        return [
            front.post("/v1/models/clip:predict", json={"instances": ["by KServe"], "language": language}),
            front.post(
                "/v2/models/clip/infer", json={"inputs": [tensor], "parameters": {"language": language}}
            ),
        ]

    first, second = (answer.raise_for_status().json() for answer in post("bn"))
    np.testing.assert_allclose(first["predictions"], [vector], atol=1e-6)
    np.testing.assert_allclose(second["outputs"][0]["data"], vector, atol=1e-6)
    for answer in (*post(7), *post("x" * 65)):
        assert answer.status_code == 400, answer.text
        assert "language" in answer.json()["error"]


def called(front: Front, name: str, request: Any, answer: Any) -> Any:
    """The answer of a call over gRPC."""
    with grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://")) as channel:
        call: Any = channel.unary_unary(
            f"/babelclip.v1.Embedder/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return call(request, metadata=(("authorization", f"Bearer {front.key}"),), timeout=60)


def test_labels_are_in_the_language_of_their_templates(front: Front) -> None:
    """Who asks for the sentences of a language gets them embedded as texts in it."""
    before = len(front.engine.calls)
    scored(front, "classify", input=["something"], labels=["a label of its own"], language="en")
    asked = [EmbedRequest.FromString(call.body) for call in front.engine.calls[before:]]
    assert asked
    assert {request.language for request in asked if request.texts} == {"en"}
