"""Similarity over HTTP, by hand-made vectors whose scores are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.gateway.front import Front, gateway
from tests.gateway.scored import (
    BROKEN,
    CALIBRATION,
    CAR,
    CAT,
    DOG,
    SCALE,
    answered,
    engine,
    front,
    image,
    refused,
    unit,
)

__all__ = ["front"]


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


def test_so_many_pairs_that_the_answer_would_be_vast_are_refused(tmp_path: Path) -> None:
    """The items of a request may be few enough while their pairs are not."""
    with gateway(engine(), tmp_path) as front:
        body = {"queries": ["cat"] * 600, "candidates": ["dog"] * 600}
        message = refused(front.post("/v1/similarity", json=body), 413, "too_many_items")
        assert "360,000 pairs" in message
        largest = {"queries": ["cat"] * 500, "candidates": ["dog"] * 500}
        assert np.shape(front.post("/v1/similarity", json=largest).json()["cosines"]) == (500, 500)
