"""Zero-shot classification, and what a cosine means for a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip import Calibration, Classifier, Client, Embeddings, SpaceMismatch, calibrate, read_calibration
from babelclip.testing import InMemoryTransport

SPACE = "in-memory"


def client(**vectors: list[float]) -> Client:
    given: dict[str | bytes, list[float]] = dict(vectors.items())
    return Client("", transport=InMemoryTransport(dim=3, logit_scale=10.0, vectors=given))


def images(*rows: list[float]) -> Embeddings:
    vectors = np.array(rows, np.float32)
    return Embeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), SPACE, 10.0)


def test_the_nearest_label_is_the_answer() -> None:
    """Each image gets the label whose vector is nearest, with CLIP's probability among the labels."""
    with client(cat=[1, 0, 0], dog=[0, 1, 0]) as labels:
        one, other = Classifier(labels, ["cat", "dog"]).classify(images([1, 0.5, 0], [0, 1, 0.1]))
    assert (one.label, other.label) == ("cat", "dog")
    gap = 10 * (one.cosines["cat"] - one.cosines["dog"])
    assert one.probability == pytest.approx(1 / (1 + np.exp(-gap)), rel=1e-5)
    assert one.match is None
    assert one.probabilities["cat"] == one.probability
    assert sum(one.probabilities.values()) == pytest.approx(1.0)


def test_a_label_is_the_mean_of_its_sentences() -> None:
    """Several templates count equally, whatever the lengths of their sum."""
    vectors = {"a cat": [1.0, 0.0, 0.0], "the cat": [0.0, 1.0, 0.0]}
    with client(**vectors) as labels:
        (answer,) = Classifier(labels, ["cat"], templates=["a {c}", "the {}"]).classify(images([1, 1, 0]))
    assert answer.cosines["cat"] == pytest.approx(1.0)


def test_built_in_sentences_are_in_the_language_of_the_label() -> None:
    """A language gives sentences that hold the label; an unknown one names those that there are."""
    transport = InMemoryTransport()
    with Client("", transport=transport) as labels:
        Classifier(labels, ["Katze"], language="de")
        with pytest.raises(ValueError, match=r"no built-in templates in 'xx'.*en"):
            Classifier(labels, ["Katze"], language="xx")
    assert b"ein Foto: Katze." in transport.calls[0].body


def test_what_fits_no_label_has_none() -> None:
    """With a calibration, an image far from every label is no match, and says what would have been best."""
    calibration = Calibration(SPACE, slope=20.0, offset=-10.0, pairs=100)
    with client(cat=[1, 0, 0], dog=[0, 1, 0]) as labels:
        classifier = Classifier(labels, ["cat", "dog"], calibration=calibration)
        near, far = classifier.classify(images([1, 0, 0.1], [0.2, 0.1, 1]))
        assert (near.label, far.label, far.best) == ("cat", None, "cat")
        assert near.match is not None
        assert far.match is not None
        assert near.match > 0.99 > 0.01 > far.match
        other = Calibration("another", 20.0, -10.0, 100)
        with pytest.raises(SpaceMismatch, match="calibrate again"):
            Classifier(labels, ["cat"], calibration=other)


def test_a_failed_image_is_an_answer_with_its_error() -> None:
    """One broken file does not cost the others their labels."""
    transport = InMemoryTransport(failing={b"x": ("image_undecodable", "it is broken")})
    with Client("", transport=transport) as labels:
        good, bad = Classifier(labels, ["cat"]).classify([b"y", b"x"])
    assert good.label == "cat"
    assert (bad.label, bad.error and bad.error.code) == (None, "image_undecodable")


@pytest.mark.parametrize(
    ("labels", "options", "says"),
    [
        ([], {}, "at least one label"),
        ("cat", {}, "at least one label"),
        (["cat", "cat"], {}, "stands once"),
        (["cat"], {"templates": ["no place"]}, "one {c} or {} each"),
        (["cat"], {"templates": []}, "one {c} or {} each"),
        (["cat"], {"templates": ["{c} {}"]}, "one {c} or {} each"),
        (["cat"], {"templates": ["{c}"], "language": "en"}, "not both"),
        (["cat"], {"threshold": 2.0}, "from 0 to 1"),
    ],
)
def test_what_cannot_be_classified_with_is_refused(labels: Any, options: dict[str, Any], says: str) -> None:
    """A wrong label, template or threshold is a sentence before anything is sent."""
    transport = InMemoryTransport()
    with Client("", transport=transport) as unused, pytest.raises(ValueError, match=says):
        Classifier(unused, labels, **options)
    assert transport.calls == []


def pairs(count: int, noise: float, seed: int = 0) -> tuple[Embeddings, Embeddings]:
    """Texts, and images near to them."""
    generator = np.random.default_rng(seed)
    texts = generator.standard_normal((count, 32)).astype(np.float32)
    near = texts + noise * generator.standard_normal((count, 32)).astype(np.float32)
    return tuple(
        Embeddings(rows / np.linalg.norm(rows, axis=1, keepdims=True), SPACE, 10.0) for rows in (texts, near)
    )  # type: ignore[return-value]


def test_a_calibration_gives_the_shares_that_are_seen() -> None:
    """Of pairs that are new to it, those with P(match) near p are matches in a share near p."""
    calibration = calibrate(*pairs(300, noise=2.0))
    texts, found = pairs(300, noise=2.0, seed=1)
    cosines = texts.vectors @ found.vectors.T
    own = np.eye(300, dtype=bool)
    others = cosines[~own]
    probability = np.concatenate(
        [calibration.probability(cosines[own]), calibration.probability(others[:: len(others) // 300][:300])]
    )
    match = np.repeat([True, False], 300)
    for low, high in ((0.1, 0.4), (0.4, 0.6), (0.6, 0.9)):
        inside = (probability >= low) & (probability < high)
        assert match[inside].mean() == pytest.approx(probability[inside].mean(), abs=0.12)
    assert (probability[match] > 0.5).mean() > 0.85


def test_more_candidates_ask_for_more() -> None:
    """The best of a thousand images that do not match is no match because it is the best."""
    calibration = calibrate(*pairs(200, noise=1.0))
    one, many = (calibration.probability(0.4, candidates=n) for n in (2, 1000))
    assert many < one
    assert calibration.probability([0.1, 0.9]).shape == (2,)


def test_sides_that_do_not_overlap_have_a_finite_curve() -> None:
    """A perfect model does not divide by zero; failed pairs are left out, and too few are refused."""
    texts, found = pairs(50, noise=0.0)
    calibration = calibrate(texts, found)
    assert calibration.slope > 0
    assert np.isfinite([calibration.slope, calibration.offset]).all()
    assert calibration.probability(1.0) > 0.9
    with pytest.raises(ValueError, match="at least 20 pairs, not 19"):
        calibrate(texts[:19], found[:19])
    with pytest.raises(ValueError, match="50 texts for 49 images"):
        calibrate(texts, found[:49])


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Measured once, it is used in every later process."""
    calibration = calibrate(*pairs(40, noise=1.0))
    calibration.save(tmp_path / "c.json")
    assert read_calibration(tmp_path / "c.json") == calibration


@given(
    st.binary(max_size=80)
    | st.builds(
        lambda v: json.dumps(v).encode(),
        st.dictionaries(
            st.sampled_from(["format", "space", "slope", "offset", "pairs"]),
            st.none() | st.integers() | st.floats() | st.text(max_size=4),
            max_size=5,
        ),
    )
)
def test_any_file_is_a_calibration_or_a_value_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """No content of a file gives numbers that are none, or another exception."""
    path = tmp_path_factory.getbasetemp() / "calibration.json"
    path.write_bytes(data)
    try:
        found = read_calibration(path)
    except ValueError:
        return
    assert np.isfinite([found.slope, found.offset]).all()
