"""What a cosine with a query of one or several terms means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip import Calibration, SpaceMismatch
from babelclip.search.query import compose
from babelclip.search.relevance import SearchCalibration, read_search_calibration

TEXT = Calibration("s", slope=40.0, offset=-10.0, pairs=100, others=0.1)  # a half at 0.25
IMAGE = Calibration("s", slope=20.0, offset=-14.0, pairs=100, others=0.4)  # a half at 0.7
BOTH = SearchCalibration("s", TEXT, IMAGE)
VECTORS = np.array([[1, 0, 0], [0.6, 0.8, 0]])


def test_one_term_has_its_own_curve() -> None:
    """The curve of a single text or image is what was measured, whatever its weight."""
    curve = BOTH.curve(kinds=["text"], weights=[3.0], vectors=VECTORS[:1], candidates=2)
    assert curve is not None
    assert curve.threshold == pytest.approx(0.25)
    assert curve.probability([0.25, 0.3]) == pytest.approx(TEXT.probability([0.25, 0.3]))


@given(st.integers(1, 10_000_000))
def test_more_candidates_need_a_higher_cosine(candidates: int) -> None:
    """Among N rows √N are taken to fit, so the odds of a cosine fall with √(N - 1)."""
    curve = BOTH.curve(kinds=["image"], weights=[1.0], vectors=VECTORS[:1], candidates=candidates)
    assert curve is not None
    likely = float(IMAGE.probability(curve.threshold))
    assert likely / (1 - likely) == pytest.approx(max(1, candidates - 1) ** 0.5)


def test_a_row_that_just_fits_all_terms_is_at_the_threshold() -> None:
    """A text, an image and something avoided: a row of borderline cosines with each is borderline."""
    weights = [1.0, 0.5, -0.5]
    vectors = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    row = np.array([0.25, 0.7, 0.1])  # its cosines with each, up to its length
    query = compose(vectors, weights)
    curve = BOTH.curve(kinds=["text", "image", "text"], weights=weights, vectors=vectors, candidates=2)
    assert curve is not None
    assert curve.threshold == pytest.approx(float(query @ row))


def test_what_avoids_more_than_it_wants_still_has_a_threshold() -> None:
    """A row that has nothing to do with anything stays below, however many things are avoided."""
    weights = [1.0, -0.5, -0.5, -0.5]
    vectors = np.eye(4)
    curve = BOTH.curve(kinds=["text"] * 4, weights=weights, vectors=vectors, candidates=2)
    assert curve is not None
    unrelated = np.full(4, TEXT.unrelated)
    assert compose(vectors, weights) @ unrelated < curve.threshold


def test_without_a_curve_there_is_no_threshold() -> None:
    """What was not measured, only avoids, or does not rise with the cosine gives no curve."""
    one: dict[str, Any] = {"vectors": VECTORS[:1], "candidates": 2}
    assert SearchCalibration("s", text=TEXT).curve(kinds=["image"], weights=[1.0], **one) is None
    assert BOTH.curve(kinds=["text"], weights=[-1.0], **one) is None
    falling = SearchCalibration("s", text=Calibration("s", -1.0, 0.0, 100))
    assert falling.curve(kinds=["text"], weights=[1.0], **one) is None


def test_a_calibration_survives_its_file(tmp_path: Path) -> None:
    """What is written is read again, one curve or two; a calibration of texts alone is one, too."""
    path = tmp_path / "calibration.json"
    for calibration in (BOTH, SearchCalibration("s", text=TEXT)):
        calibration.save(path)
        assert read_search_calibration(path) == calibration
    TEXT.save(path)
    assert read_search_calibration(path) == SearchCalibration("s", text=TEXT)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "3",
        json.dumps({"format": 2, "space": "s", "text": None, "image": None}),
        json.dumps({"format": 1, "space": "s", "text": None}),
        json.dumps({"format": 1, "space": "s", "text": {"space": "s", "slope": "x"}, "image": None}),
        json.dumps(
            {
                "format": 1,
                "space": "s",
                "text": {"space": "other", "slope": 1, "offset": 0, "pairs": 20},
                "image": None,
            }
        ),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    """A file of something else is an error with its name, never a wrong curve."""
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"calibration\.json is no calibration"):
        read_search_calibration(path)


def test_curves_of_two_spaces_are_no_calibration() -> None:
    """The curves of one calibration are of one space."""
    with pytest.raises(SpaceMismatch):
        SearchCalibration("other", text=TEXT)
