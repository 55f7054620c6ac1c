"""Searches of images by texts, in vectors that were made before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from babelclip import (
    Client,
    Embeddings,
    ItemError,
    ItemErrors,
    MultiLingualSearch,
    SpaceMismatch,
    generate_embeddings,
)
from babelclip.search.ranking import softmax
from tests.clients.fake_server import DIM, SPACE, vector_of
from tests.clients.in_memory import InMemory


@pytest.fixture
def model() -> Client:
    return Client("", transport=InMemory())


def vectors_of(*items: str) -> np.ndarray:
    return np.stack([vector_of(item.encode()) for item in items])


def test_probabilities_are_a_softmax_over_all_images(model: Client) -> None:
    """The documented formula, with the model's own logit scale of 20; best first, entries as they came."""
    names = ["one", "two", "three"]
    data = [{"id": name} for name in names]
    found = MultiLingualSearch(model, vectors_of(*names), data).search("विद्यालय में")
    logits = 20.0 * vectors_of(*names).astype(np.float64) @ vector_of("विद्यालय में".encode())
    expected = np.exp(logits) / np.exp(logits).sum()
    order = np.argsort(-logits)
    assert [result["image"] for result in found] == [data[i] for i in order]
    np.testing.assert_allclose([result["prob"] for result in found], expected[order], rtol=1e-5)
    assert sum(result["prob"] for result in found) == pytest.approx(1.0)
    assert [set(result) for result in found] == [{"image", "prob"}] * 3


def test_a_softmax_of_large_logits_is_finite() -> None:
    """A logit scale of any size gives probabilities, never infinities."""
    np.testing.assert_allclose(softmax(np.array([[5000.0, 5000.0, -5000.0]])), [[0.5, 0.5, 0.0]])


def test_every_form_of_vectors_gives_the_same_ranking(model: Client, tmp_path: Path) -> None:
    """What generate_embeddings returned or wrote, Embeddings, and rows of any length are searched alike."""
    for name in ("x.jpg", "y.png", "z.webp"):
        (tmp_path / name).write_bytes(name.encode())
    made = generate_embeddings(model, tmp_path, tmp_path / "v")
    expected = MultiLingualSearch(model, made).search("a")
    longer = made.embeddings.vectors * np.array([[0.1], [1.0], [50.0]])
    for search in (
        MultiLingualSearch(model, tmp_path / "v"),
        MultiLingualSearch(model, str(tmp_path / "v" / "embeddings.npy")),
        MultiLingualSearch(model, made.embeddings, made.images),
        MultiLingualSearch(model, longer, list(made.images)),
        MultiLingualSearch(model, longer.tolist(), list(made.images)),
    ):
        found = search.search("a")
        assert [result["image"] for result in found] == [result["image"] for result in expected]
        np.testing.assert_allclose([r["prob"] for r in found], [r["prob"] for r in expected], rtol=1e-4)


def test_many_texts_give_as_many_rankings(model: Client) -> None:
    """A list is answered with a list in its order, each ranking as if it had been asked alone."""
    search = MultiLingualSearch(model, vectors_of("x", "y", "z"), ["x", "y", "z"])
    found = search.search(["x", "学校"], top=2)
    assert [[result["image"] for result in ranking] for ranking in found] == [
        [result["image"] for result in search.search(text, top=2)] for text in ("x", "学校")
    ]
    assert found[0][0]["image"] == "x"
    assert [len(ranking) for ranking in found] == [2, 2]
    assert search.search([]) == []


def test_an_image_without_a_vector_is_never_a_result(model: Client) -> None:
    """Neither a failed row of Embeddings nor a row of zeros takes part, and the others keep their names."""
    vectors = vectors_of("x", "y", "z")
    vectors[1] = 0.0
    failed = Embeddings(vectors, SPACE, 20.0, errors=(ItemError(1, "image_undecodable", "m"),))
    for images in (vectors, failed):
        found = MultiLingualSearch(model, images, ["x", "y", "z"]).search("z")
        assert [result["image"] for result in found] == ["z", "x"]
        assert sum(result["prob"] for result in found) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("images", "data", "words"),
    [
        (vectors_of("x"), ["x", "y"], "2 entries for 1 rows"),
        (vectors_of("x"), None, "images_data must be a list"),
        (vectors_of("x"), "urls.json", "images_data must be a list"),
        (vector_of(b"x"), ["x"], r"must be numbers \[N, dim\], not float32 \[16\]"),
        ([["a"]], ["x"], r"must be numbers \[N, dim\]"),
        (np.full((1, DIM), np.nan), ["x"], "not finite"),
        (np.zeros((0, DIM)), [], "no images to search"),
        (np.zeros((1, DIM)), ["x"], "no images to search"),
        ("nowhere", None, r"nowhere has no meta\.json"),
    ],
)
def test_what_cannot_be_searched_is_refused_at_once(
    model: Client, images: Any, data: Any, words: str
) -> None:
    """A wrong argument is a sentence when the search is made, not a wrong ranking later."""
    with pytest.raises(ValueError, match=words):
        MultiLingualSearch(model, images, data)


def test_vectors_of_another_space_are_not_searched(model: Client) -> None:
    """Vectors of another model give an error, by their space or by their dimension, never a ranking."""
    other = Embeddings(vectors_of("x"), "fedcba9876543210", 20.0)
    with pytest.raises(SpaceMismatch, match=f"space fedcba9876543210, the model's of {SPACE}"):
        MultiLingualSearch(model, other, ["x"]).search("a")
    with pytest.raises(SpaceMismatch, match="have 3 values, the model's 16"):
        MultiLingualSearch(model, np.ones((1, 3)), ["x"]).search("a")


def test_a_wrong_query_is_an_error(model: Client) -> None:
    """A text without a vector, or no results asked for, is told and not answered with nothing."""
    search = MultiLingualSearch(model, vectors_of("x"), ["x"])
    with pytest.raises(ItemErrors, match="empty_item"):
        search.search(["a", ""])
    with pytest.raises(ValueError, match="top must be at least 1"):
        search.search("a", top=0)
