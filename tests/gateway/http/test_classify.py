"""Classification over HTTP, by hand-made vectors whose scores are known."""

from typing import Any

import numpy as np
import pytest

from babelclip.embedding_pb2 import EmbedRequest
from tests.gateway.front import Front
from tests.gateway.scored import BROKEN, CAR, CAT, DOG, answered, front, image, refused, unit

__all__ = ["front"]


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


def sent(front: Front, **body: Any) -> list[str]:
    """What the text tower is asked to classify with."""
    before = len(front.engine.calls)
    answered(front, "/v1/classify", **body)
    return [
        text.decode()
        for call in front.engine.calls[before:]
        for text in EmbedRequest.FromString(call.body).texts
    ]


def test_a_label_is_the_mean_of_its_templates(front: Front) -> None:
    """Several templates count equally, in the way of open_clip's zero-shot classifier."""
    body = {"input": image(CAT), "labels": ["cat", "dog"], "top": 1}
    (answer,) = answered(front, "/v1/classify", **body, templates=["a photo of a {}", "the {c}"])["data"]
    mean = unit("a photo of a cat") + unit("the cat")
    (score,) = answer["scores"]
    assert score["cosine"] == pytest.approx(unit(CAT) @ mean / np.linalg.norm(mean), abs=1e-6)
    assert "ein Foto: Katze." in sent(front, input=image(CAT), labels=["Katze"], language="de")


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
