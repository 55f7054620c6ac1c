"""Similarity, classification and reranking of drawings by the committed model, through the gateway."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from babelclip import Client, calibrate
from tests.e2e.gateways import Gateway, started
from tests.e2e.support import PATIENCE, Server
from tests.places import SAMPLES

CAPTIONS = json.loads((SAMPLES / "captions.json").read_text(encoding="utf-8"))["names"]
CAT, PIZZA, HEART, SKULL = "🐈", "🍕", "❤", "💀"


def drawing(emoji: str) -> Path:
    """Its drawing."""
    return SAMPLES / ("-".join(f"{ord(character):x}" for character in emoji) + ".png")


def image(emoji: str) -> dict[str, str]:
    """Its drawing as the calls take it."""
    return {"image": base64.b64encode(drawing(emoji).read_bytes()).decode()}


@pytest.fixture(scope="module")
def front(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a calibration that was measured as docs/client.md has it."""
    folder = tmp_path_factory.mktemp("gateway")
    pairs = [emoji for emoji in CAPTIONS["en"] if drawing(emoji).exists()]
    with Client(server.http, token_file=server.token_file) as client:
        texts = client.embed_texts([CAPTIONS["en"][emoji] for emoji in pairs])
        calibrate(texts, client.embed_images([drawing(emoji) for emoji in pairs])).save(folder / "c.json")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("BABELCLIP_GATEWAY_CALIBRATIONS", str(folder / "c.json"))
        with started(folder, server) as running:
            yield running


def answered(front: Gateway, path: str, **body: Any) -> Any:
    """The answer to a call that must succeed."""
    headers = {"authorization": f"Bearer {front.key}"}
    answer = httpx.post(f"{front.addresses['http']}{path}", json=body, headers=headers, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_similarity_is_the_clients(server: Server, front: Gateway) -> None:
    """The cosines are those of the vectors that a client gets, the probabilities CLIP's over them."""
    emojis, texts = [CAT, PIZZA], ["eine Katze", "une pizza", "дом"]
    with Client(server.http, token_file=server.token_file) as client:
        cosines = client.similarity(texts, [drawing(emoji) for emoji in emojis]).T
    answer = answered(front, "/v1/similarity", images=[image(emoji) for emoji in emojis], texts=texts)
    np.testing.assert_allclose(answer["cosines"], cosines, atol=1e-4)
    logits = answer["logit_scale"] * np.array(answer["cosines"])
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(answer["probabilities"], shares / shares.sum(axis=1, keepdims=True), atol=1e-4)
    assert answer["space"] == server.space


def test_a_drawing_has_its_label_in_any_language_or_none(front: Gateway) -> None:
    """The label that fits is found by name, and where none does, none is given."""
    drawings = [image(CAT), image(PIZZA)]
    for language in ("en", "de", "ru", "hi"):
        labels = [CAPTIONS[language][emoji] for emoji in (CAT, PIZZA, HEART)]
        answers = answered(front, "/v1/classify", input=drawings, labels=labels, top=1)["data"]
        assert [answer["label"] for answer in answers] == labels[:2], language
        assert all(answer["match"] > 0.5 for answer in answers)
    unfit = answered(front, "/v1/classify", input=drawings, labels=["Montag", "Steuererklärung"])["data"]
    assert [answer["label"] for answer in unfit] == [None, None]
    assert all(answer["best"] in ("Montag", "Steuererklärung") for answer in unfit)


def test_drawings_are_ranked_for_a_text_and_for_a_drawing(front: Gateway) -> None:
    """Search over a handful of images is one call, in any language."""
    documents = [image(emoji) for emoji in (HEART, CAT, SKULL, PIZZA)]
    for query, best in (("Totenkopf", 2), ("пицца", 3), ("un chat", 1), (image(CAT), 1)):
        results = answered(front, "/v1/rerank", query=query, documents=documents)["results"]
        assert len(results) == 4
        assert results[0]["index"] == best, query
