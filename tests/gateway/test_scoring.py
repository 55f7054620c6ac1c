"""Similarity, classification and reranking over HTTP, by hand-made vectors whose scores are known."""

import asyncio
import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cohere
import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelclip import Calibration, Unavailable
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.testing import InMemoryTransport
from gateway.errors import ApiError
from gateway.fetch import ImageAddress, image_address
from gateway.http.dialects import classify, rerank, similarity
from gateway.metrics import Metrics
from gateway.scoring.messages import ClassifyRequest, RerankRequest, SimilarityRequest
from gateway.scoring.scorer import MAX_LABEL, Scorer, read_calibrations
from gateway.settings import Settings
from tests.gateway.engine import Engine, models
from tests.gateway.front import Front, gateway

SCALE = 10.0
CAT, DOG, CAR = b"a picture of a cat", b"a picture of a dog", b"a picture of a car"
BROKEN = b"no picture"
CALIBRATION = Calibration("in-memory", slope=20.0, offset=-10.0, pairs=100)
VECTORS: dict[str | bytes, list[float]] = {
    "cat": [1.0, 0.0, 0.0],
    "a photo of a cat": [1.0, 0.2, 0.0],
    "the cat": [1.0, -0.2, 0.0],
    "dog": [0.0, 1.0, 0.0],
    "a photo of a dog": [0.2, 1.0, 0.0],
    "the dog": [-0.2, 1.0, 0.0],
    CAT: [1.0, 0.1, 0.0],
    DOG: [0.1, 1.0, 0.0],
    CAR: [0.2, 0.1, 1.0],
}


def image(data: bytes) -> dict[str, str]:
    """An image as the calls take it."""
    return {"image": base64.b64encode(data).decode()}


def unit(item: str | bytes) -> np.ndarray:
    """Its vector, of length 1."""
    vector = np.array(VECTORS[item])
    return vector / np.linalg.norm(vector)


def engine() -> Engine:
    """Two versions of the vectors above, of which one has a calibration."""
    failing = {BROKEN: ("image_undecodable", "it is broken"), "poison": ("text_too_long", "it is too long")}
    made = [
        InMemoryTransport(
            dim=3,
            logit_scale=SCALE,
            vectors=VECTORS,
            failing=failing,
            unknown=["ⴰⵣⵓⵍ"],
            space=space,
            version=version,
        )
        for space, version in (("in-memory", "1.0"), ("new", "2.0"))
    ]
    return Engine(*made)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway before two versions; no test of this file changes them."""
    folder = tmp_path_factory.mktemp("front")
    CALIBRATION.save(folder / "calibration.json")
    given = {"calibrations": (str(folder / "calibration.json"),), "max_items": 200}
    with gateway(engine(), folder, **given) as front:
        yield front


def answered(front: Front, path: str, **body: Any) -> Any:
    """The answer to a call that must succeed."""
    answer = front.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def embedded(front: Front) -> list[str]:
    """How many items were embedded, as the metrics have it."""
    lines = httpx.get(front.addresses.metrics).text.splitlines()
    return [line for line in lines if line.startswith("babelclip_gateway_items_total")]


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """The message of a call that must fail, in OpenAI's form."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    return str(error["message"])


@pytest.mark.parametrize(
    "body",
    [
        {"queries": [image(CAT), image(CAR)], "candidates": ["cat", "dog"]},
        {"images": [image(CAT)["image"], image(CAR)], "texts": ["cat", {"text": "dog"}]},
    ],
)
def test_similarity_has_clips_cosines_and_probabilities(front: Front, body: dict[str, Any]) -> None:
    """Images against texts give the softmax of logits_per_image, and a match that is measured."""
    answer = answered(front, "/v1/similarity", **body)
    cosines = np.array([[unit(a) @ unit(b) for b in ("cat", "dog")] for a in (CAT, CAR)])
    np.testing.assert_allclose(answer["cosines"], cosines, atol=1e-6)
    logits = np.exp(SCALE * cosines)
    np.testing.assert_allclose(answer["probabilities"], logits / logits.sum(1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(answer["matches"], CALIBRATION.probability(cosines), atol=1e-5)
    assert (answer["model"], answer["space"], answer["logit_scale"]) == ("clip@1.0", "in-memory", SCALE)


def test_any_item_is_compared_with_any(front: Front) -> None:
    """A text with a text and an image with an image have a cosine, but no match, which is not measured."""
    answer = answered(
        front, "/v1/similarity", queries=["cat", image(CAT)], candidates=["dog", image(DOG)], model="clip"
    )
    expected = [[unit(a) @ unit(b) for b in ("dog", DOG)] for a in ("cat", CAT)]
    np.testing.assert_allclose(answer["cosines"], expected, atol=1e-6)
    (text_text, text_image), (image_text, image_image) = answer["matches"]
    assert (text_text, image_image) == (None, None)
    assert 0 < text_image < 1
    assert 0 < image_text < 1
    assert (
        answered(front, "/v1/similarity", queries="cat", candidates="dog", model="clip@2.0")["matches"]
        is None
    )


def test_a_bad_item_costs_only_itself_where_the_caller_says_so(front: Front) -> None:
    """Its row or column is null, the probabilities of the others are among the others."""
    body = {"queries": [image(CAT), image(BROKEN)], "candidates": ["cat", "poison", "dog"]}
    answer = answered(front, "/v1/similarity", **body, errors="return")
    assert answer["queries"]["errors"] == [
        {"index": 1, "code": "image_undecodable", "message": "it is broken"}
    ]
    assert [error["index"] for error in answer["candidates"]["errors"]] == [1]
    assert answer["cosines"][1] == answer["probabilities"][1] == answer["matches"][1] == [None] * 3
    good = answer["probabilities"][0]
    assert good[1] is None
    assert good[0] + good[2] == pytest.approx(1.0)
    message = refused(front.post("/v1/similarity", json=body), 400, "image_undecodable")
    assert message == "queries[1]: it is broken; candidates[1]: it is too long"
    everything = answered(
        front, "/v1/similarity", queries=[image(BROKEN)], candidates=["cat"], errors="return"
    )
    assert everything["cosines"] == [[None]]


def test_classification_names_the_best_label_or_none(front: Front) -> None:
    """An image gets its label; one that fits none has none, and says what would have been best."""
    answer = answered(
        front, "/v1/classify", input=[image(DOG), image(CAR)], labels=["cat", "dog"], threshold=0.5
    )
    dog, car = answer["data"]
    assert (dog["label"], dog["best"], car["label"], car["best"]) == ("dog", "dog", None, "cat")
    assert dog["match"] > 0.9 > 0.1 > car["match"]
    assert [score["label"] for score in dog["scores"]] == ["dog", "cat"]
    assert dog["scores"][0]["cosine"] == pytest.approx(unit(DOG) @ unit("dog"), abs=1e-6)
    assert dog["probability"] == dog["scores"][0]["probability"]
    assert sum(score["probability"] for score in dog["scores"]) == pytest.approx(1.0)
    assert answered(front, "/v1/classify", input=image(CAR), labels=["cat"], threshold=0)["data"][0]["label"]


def test_a_text_is_classified_without_a_match(front: Front) -> None:
    """What is measured of texts and images is not applied to a text and a label."""
    text, picture = answered(front, "/v1/classify", input=["cat", image(CAR)], labels=["dog", "cat"])["data"]
    assert (text["label"], text["match"]) == ("cat", None)
    assert picture["label"] is None


def test_without_a_calibration_there_is_always_a_label(front: Front) -> None:
    """A model of which nothing is measured has no `match`, and refuses a threshold rather than ignore it."""
    body = {"model": "clip@2.0", "input": image(CAR), "labels": ["cat", "dog"]}
    (answer,) = answered(front, "/v1/classify", **body)["data"]
    assert (answer["label"], answer["match"]) == ("cat", None)
    message = refused(front.post("/v1/classify", json={**body, "threshold": 0.5}), 400, "malformed_request")
    assert "no calibration" in message


def test_a_label_is_the_mean_of_its_templates(front: Front) -> None:
    """Several templates count equally, in the way of open_clip's zero-shot classifier."""
    body = {"input": image(CAT), "labels": ["cat", "dog"], "top": 1}
    (answer,) = answered(front, "/v1/classify", **body, templates=["a photo of a {}", "the {c}"])["data"]
    mean = unit("a photo of a cat") + unit("the cat")
    (score,) = answer["scores"]
    assert score["cosine"] == pytest.approx(unit(CAT) @ mean / np.linalg.norm(mean), abs=1e-6)
    assert "ein Foto: Katze." in sent(front, input=image(CAT), labels=["Katze"], language="de")


def sent(front: Front, **body: Any) -> list[str]:
    """What the text tower is asked to classify with."""
    before = len(front.engine.calls)
    answered(front, "/v1/classify", **body)
    return [
        text.decode()
        for call in front.engine.calls[before:]
        for text in EmbedRequest.FromString(call.body).texts
    ]


def test_a_broken_image_costs_only_its_own_label(front: Front) -> None:
    """The others are classified; a broken label fails the request, whose answers all depend on it."""
    body = {"input": [image(BROKEN), image(DOG), {"image": "?"}], "labels": ["cat", "dog"]}
    broken, dog, wrong = answered(front, "/v1/classify", **body, errors="return")["data"]
    assert broken == {
        "object": "classification",
        "index": 0,
        "label": None,
        "error": {"code": "image_undecodable", "message": "it is broken"},
    }
    assert dog["label"] == "dog"
    assert wrong["error"]["code"] == "invalid_item"
    message = refused(front.post("/v1/classify", json=body), 400, "image_undecodable")
    assert message.startswith("input[0]: it is broken; input[2]: ")
    body["labels"] = ["cat", "poison"]
    answer = front.post("/v1/classify", json={**body, "errors": "return", "templates": ["{}", "{c}"]})
    assert refused(answer, 413, "text_too_long") == "labels[1]: it is too long"


@pytest.mark.parametrize(("path", "version"), [("/v1/rerank", "1"), ("/v2/rerank", "2")])
def test_documents_of_both_kinds_are_ranked(front: Front, path: str, version: str) -> None:
    """Jina's and Cohere's call: best first, by index, with the documents where the caller wants them."""
    uri = f"data:image/png;base64,{image(CAR)['image']}"
    documents = ["dog", {"text": "cat"}, {**image(CAT), "note": "mine"}, uri]
    answer = answered(front, path, model="clip", query="cat", documents=documents, return_documents=True)
    scores = [unit("cat") @ unit(item) for item in ("dog", "cat", CAT, CAR)]
    order = sorted(range(4), key=lambda index: -scores[index])
    assert [result["index"] for result in answer["results"]] == order == [1, 2, 3, 0]
    got = [result["relevance_score"] for result in answer["results"]]
    np.testing.assert_allclose(got, [scores[index] for index in order], atol=1e-6)
    shown = [result["document"] for result in answer["results"]]
    assert shown == [{"text": "cat"}, image(CAT), {"image": uri}, {"text": "dog"}]
    assert [result["match"] is None for result in answer["results"]] == [True, False, False, True]
    assert answer["meta"]["api_version"]["version"] == version
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    best = answered(front, path, query="cat", documents=documents, top_n=1)["results"]
    assert [(result["index"], "document" in result) for result in best] == [(1, False)]


def test_what_the_model_does_not_know_is_told(front: Front) -> None:
    """Letters that are unknown give vectors that say nothing, of whichever part of a request."""
    strange = "ⴰⵣⵓⵍ"
    compared = answered(front, "/v1/similarity", queries=["cat"], candidates=["dog", strange])
    assert (compared["queries"]["unknown"], compared["candidates"]["unknown"]) == ([], [1])
    labels = ["cat", strange]
    classified = answered(front, "/v1/classify", input=[strange], labels=labels, templates=["{}", "the {}"])
    assert (classified["unknown"], classified["unknown_labels"]) == ([0], [1])
    assert classified["truncated_labels"] == []
    ranked = answered(front, "/v1/rerank", query=strange, documents=["cat", strange])
    assert (ranked["unknown"], ranked["query_unknown"], ranked["query_truncated"]) == ([1], True, False)


def test_an_image_may_be_the_query(front: Front) -> None:
    """Search by image over the same call."""
    answer = answered(front, "/v1/rerank", query=image(DOG), documents=["cat", image(DOG), "dog"])
    assert [result["index"] for result in answer["results"]] == [1, 2, 0]


def test_a_broken_document_costs_only_itself(front: Front) -> None:
    """It has no rank; where the caller does not want that, the request fails and names it."""
    body: dict[str, Any] = {"query": "cat", "documents": ["dog", image(BROKEN), 7, "cat"]}
    answer = answered(front, "/v1/rerank", **body, errors="return")
    assert [result["index"] for result in answer["results"]] == [3, 0]
    assert [(e["index"], e["code"]) for e in answer["errors"]] == [
        (1, "image_undecodable"),
        (2, "invalid_item"),
    ]
    message = refused(front.post("/v1/rerank", json=body), 400, "image_undecodable")
    assert message.startswith("documents[1]: it is broken; documents[2]: ")
    body["query"] = "poison"
    answer = front.post("/v1/rerank", json={**body, "errors": "return"})
    assert refused(answer, 413, "text_too_long") == "query: it is too long"


def test_coheres_sdk_reranks(front: Front) -> None:
    """A program written for Cohere's rerank gets its results by a change of address and key."""
    where = {"api_key": front.key, "base_url": front.addresses.http}
    with httpx.Client() as connections:
        newer = cohere.ClientV2(**where, httpx_client=connections)
        answer = newer.rerank(model="clip", query="cat", documents=["dog", "cat"], top_n=1)
        with pytest.raises(cohere.NotFoundError) as caught:
            newer.rerank(model="other", query="cat", documents=["dog"])
        older = cohere.Client(**where, httpx_client=connections)
        found = older.rerank(model="clip", query="cat", documents=["dog", "cat"], return_documents=True)
    assert [(result.index, round(result.relevance_score, 5)) for result in answer.results] == [(1, 1.0)]
    assert [result.document.text for result in found.results] == ["cat", "dog"]
    assert caught.value.body["message"] == "there is no model 'other'; there are clip"


MANY = ["cat"] * 150


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("similarity", {}, 400, '"queries" and "candidates"'),
        ("similarity", {"queries": ["a"]}, 400, '"queries" and "candidates"'),
        (
            "similarity",
            {"queries": ["a"], "candidates": ["a"], "texts": []},
            400,
            '"queries" and "candidates"',
        ),
        ("similarity", {"queries": [], "candidates": ["a"]}, 400, '"queries" must hold at least one'),
        ("similarity", {"queries": 1, "candidates": ["a"]}, 400, '"queries" must be a string'),
        ("similarity", {"queries": MANY, "candidates": MANY}, 413, "300 items to embed"),
        ("similarity", {"queries": ["a"], "candidates": MANY * 2}, 413, "holds 300 items"),
        ("similarity", {"queries": ["a"], "candidates": ["a"], "errors": "x"}, 400, '"raise" or "return"'),
        ("classify", {"labels": ["a"]}, 400, '"input"'),
        ("classify", {"input": "a"}, 400, '"labels"'),
        ("classify", {"input": "a", "labels": "cat"}, 400, "list of strings"),
        ("classify", {"input": "a", "labels": []}, 400, "at least one"),
        ("classify", {"input": "a", "labels": [1]}, 400, "labels[0] must be a string"),
        ("classify", {"input": "a", "labels": ["a", "a"]}, 400, "stands once"),
        ("classify", {"input": "a", "labels": ["a" * (MAX_LABEL + 1)]}, 400, "1,001 characters"),
        ("classify", {"input": "a", "labels": ["a"], "templates": ["none"]}, 400, "one {c} or {} each"),
        ("classify", {"input": "a", "labels": ["a"], "templates": ["{}" * 600]}, 400, "1,200 characters"),
        ("classify", {"input": "a", "labels": ["a"], "language": "xx"}, 400, "no built-in templates in 'xx'"),
        ("classify", {"input": "a", "labels": ["a"], "language": "x" * 99}, 400, "ISO 639-1"),
        ("classify", {"input": "a", "labels": ["a"], "language": "de", "templates": ["{}"]}, 400, "not both"),
        ("classify", {"input": "a", "labels": ["a"], "threshold": 2}, 400, "from 0 to 1"),
        ("classify", {"input": "a", "labels": ["a"], "threshold": True}, 400, "must be a number"),
        ("classify", {"input": "a", "labels": ["a"], "threshold": 10**999}, 400, "from 0 to 1"),
        ("classify", {"input": "a", "labels": ["a"], "top": 0}, 400, "at least 1"),
        (
            "classify",
            {
                "input": "a",
                "labels": [str(n) for n in range(20)],
                "templates": [f"{n}{{}}" for n in range(20)],
            },
            413,
            "401 items to embed, a label once for each template",
        ),
        ("rerank", {"query": "a"}, 400, '"query" and "documents"'),
        ("rerank", {"documents": ["a"]}, 400, '"query" and "documents"'),
        ("rerank", {"query": "a", "documents": []}, 400, "at least one"),
        ("rerank", {"query": "a", "documents": "a"}, 400, "must be a list"),
        ("rerank", {"query": "a", "documents": ["a"] * 200}, 413, "201 items to embed"),
        ("rerank", {"query": "a", "documents": ["a"], "top_n": 0}, 400, "at least 1"),
        ("rerank", {"query": "a", "documents": ["a"], "top_n": "2"}, 400, "whole number"),
        ("rerank", {"query": ["a"], "documents": ["a"]}, 400, "query: an item must be"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_a_sentence(
    front: Front, path: str, body: dict[str, Any], status: int, says: str
) -> None:
    """A field that is missing, wrong or over a limit is named, before anything is embedded."""
    before = embedded(front)
    answer = front.post(f"/v1/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]["message"]
    assert embedded(front) == before


def test_so_many_pairs_that_the_answer_would_be_vast_are_refused(tmp_path: Path) -> None:
    """The items of a request may be few enough while their pairs are not."""
    with gateway(engine(), tmp_path) as front:
        body = {"queries": ["cat"] * 600, "candidates": ["dog"] * 600}
        message = refused(front.post("/v1/similarity", json=body), 413, "too_many_items")
        assert "360,000 pairs" in message
        largest = {"queries": ["cat"] * 500, "candidates": ["dog"] * 500}
        assert np.shape(front.post("/v1/similarity", json=largest).json()["cosines"]) == (500, 500)


def test_versions_spaces_and_refusals_are_those_of_embeddings(tmp_path: Path) -> None:
    """The calls share models, keys and errors with /v1/embeddings."""
    memory = engine()
    with gateway(memory, tmp_path) as front:
        body: dict[str, Any] = {"query": "cat", "documents": ["dog"]}
        assert answered(front, "/v1/rerank", **body, model="clip@2.0")["space"] == "new"
        refused(front.post("/v1/rerank", json={**body, "space": "new"}), 409, "space_mismatch")
        refused(front.post("/v1/rerank", json={**body, "model": "other"}), 404, "model_not_found")
        refused(front.post("/v1/rerank", content=b"{"), 400, "malformed_request")
        url = f"{front.addresses.http}/v1/similarity"
        refused(httpx.post(url, json=body), 401, "invalid_api_key")
        metrics = httpx.get(front.addresses.metrics).text
        assert 'items_total{model="clip",outcome="ok",tower="text"} 2.0' in metrics
        assert 'requests_total{call="/v1/rerank",key="test",model="clip",status="200"} 1.0' in metrics
        memory.fail_with(Unavailable("no answer", retryable=False))
        refused(front.post("/v1/rerank", json=body), 503, "unavailable")


def test_a_calibration_that_is_none_stops_the_start(tmp_path: Path) -> None:
    """An operator learns of a wrong file at once, and of two for one space."""
    CALIBRATION.save(tmp_path / "a.json")
    CALIBRATION.save(tmp_path / "b.json")
    (tmp_path / "c.json").write_text("{}")
    assert read_calibrations([str(tmp_path / "a.json")]) == {"in-memory": CALIBRATION}
    with pytest.raises(ValueError, match=r"b\.json is the second one of the space in-memory"):
        read_calibrations([str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    (tmp_path / "gateway").mkdir()
    with (
        pytest.raises(ValueError, match=r"c\.json is no calibration"),
        gateway(engine(), tmp_path / "gateway", calibrations=(str(tmp_path / "c.json"),)),
    ):
        raise AssertionError("it has started")


class Pictures:
    """Fetches what is at three addresses."""

    async def fetched(self, items: Sequence[Any]) -> list[Any]:
        found = {"cat": CAT, "dog": DOG, "car": CAR}
        return [found[item.url] if isinstance(item, ImageAddress) else item for item in items]


def test_an_image_by_its_address_is_an_image(tmp_path: Path) -> None:
    """Where images are fetched, one may be the query, has a match with a text, and may match no label."""
    CALIBRATION.save(tmp_path / "c.json")
    scorer = Scorer(Settings(calibrations=(str(tmp_path / "c.json"),)), Metrics())
    cat, car = image_address("cat"), image_address("car")

    async def run() -> None:
        known = models(engine())
        chosen = replace(known.find("clip"), fetcher=Pictures())  # type: ignore[arg-type]
        ranked = await scorer.rerank(chosen, RerankRequest(cat, ["dog", image_address("dog"), "cat"]))
        assert [(result.index, result.match is None) for result in ranked.results] == [
            (2, False),
            (1, True),
            (0, False),
        ]
        classified = await scorer.classify(chosen, ClassifyRequest([cat, car], ["cat", "dog"]))
        assert [answer.label for answer in classified.answers] == ["cat", None]
        compared = await scorer.similarity(chosen, SimilarityRequest([cat], ["cat", car]))
        assert compared.matches is not None
        assert np.isnan(compared.matches).tolist() == [[False, True]]
        await known.close()

    asyncio.run(run())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["queries", "candidates", "images", "texts", "input", "labels", "templates", "query", "documents"]
OPTIONS = [
    "model",
    "top",
    "top_n",
    "threshold",
    "language",
    "errors",
    "space",
    "return_documents",
    "modality",
]
ITEM = st.sampled_from(["cat", image(CAT), {"text": "dog"}, {"image_url": {"url": "data:"}}])


# JSON may hold what is no Unicode.
STRANGE = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    ["a {}", "{c} {c}", "data:image/\ud800;base64,aaaa"]
)
ANY_ITEM = (
    ITEM
    | STRANGE
    | st.dictionaries(st.sampled_from(["text", "image", "image_url", "url", "\ud800"]), STRANGE)
    | JSON
)


@given(st.dictionaries(st.sampled_from(FIELDS + OPTIONS), ITEM | st.lists(ITEM, max_size=3) | JSON))
@settings(max_examples=200)
def test_any_body_is_a_request_or_an_error(body: dict[str, Any]) -> None:
    """No JSON makes a parser of these calls fail otherwise than with a sentence."""
    statuses = []
    for module in (similarity, classify, rerank):
        try:
            module.read(json.loads(json.dumps(body)), 100)  # type: ignore[attr-defined]
        except ApiError as error:
            statuses.append(error.status)
    assert set(statuses) <= {400, 413}


@given(
    st.sampled_from(["/v1/similarity", "/v1/classify", "/v1/rerank", "/v2/rerank"]),
    st.fixed_dictionaries(
        {"errors": st.just("return"), "return_documents": st.just(True)},
        optional={
            field: ANY_ITEM | st.lists(ANY_ITEM, min_size=1, max_size=3)
            for field in ("queries", "candidates", "input", "labels", "templates", "query", "documents")
        },
    ),
)
@settings(max_examples=100, deadline=None)
def test_no_request_is_a_failure_of_the_gateway(front: Front, path: str, body: dict[str, Any]) -> None:
    """Whatever the items of a request are, even what is no Unicode, the answer is one or a sentence."""
    answer = front.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 413), answer.text
    assert answer.json()


@pytest.mark.parametrize("path", ["/v1/similarity", "/v1/classify", "/v1/rerank", "/v2/rerank"])
def test_the_description_has_these_calls(front: Front, path: str) -> None:
    """A program that reads the OpenAPI document finds every field that the call takes."""
    described = front.get("/openapi.json").json()["paths"][path]["post"]
    body = described["requestBody"]["content"]["application/json"]["schema"]["properties"]
    module: Any = {"similarity": similarity, "classify": classify, "rerank": rerank}[path[4:]]
    for field in set(body) - {"query"}:  # An item of a wrong kind is that item's error.
        given = {"input": "a", "labels": ["a"], "query": "a", "documents": ["a"], field: 1j}
        with pytest.raises(ApiError) as caught:
            module.read({name: value for name, value in given.items() if name in body}, 100)
        assert caught.value.status == 400
