from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from models import checkpoint
from models.modules import BabelCLIP
from training.evaluation.embedding import LoadedModel
from training.evaluation.errors import EvaluationError
from training.recipes.mini.evaluate import dropped, evaluate, one_locale, rank_of, recalls


def test_a_wrong_answer_of_equal_score_counts_as_better() -> None:
    """Protects recall from being flattered by a model that gives everything one vector."""
    right = torch.eye(4, dtype=torch.bool)
    assert rank_of(torch.zeros(4, 4), right).tolist() == [3, 3, 3, 3]


@given(st.integers(1, 30), st.integers(0, 10_000))
def test_rank_is_the_number_of_better_columns(columns: int, seed: int) -> None:
    """Protects the rank against a direct count."""
    scores = torch.rand(1, columns, generator=torch.Generator().manual_seed(seed))
    own = seed % columns
    right = torch.zeros(1, columns, dtype=torch.bool)
    right[0, own] = True
    better = sum(value >= scores[0, own] for i, value in enumerate(scores[0]) if i != own)
    assert rank_of(scores, right).item() == int(better)


def test_two_emoji_with_one_name_are_both_right() -> None:
    """Protects image → text recall from counting an identical name as a mistake."""
    vectors = torch.eye(3)
    text = vectors[[0, 0, 2]]
    row = one_locale(text, vectors, [0, 1, 2], ["cat", "cat", "dog"])
    assert row["image_to_text"]["r1"] == round(2 / 3, 4)
    assert row["text_to_image"]["r1"] == round(2 / 3, 4)


def test_recalls_are_shares_of_ranks() -> None:
    """Protects the cuts."""
    assert recalls(torch.tensor([0, 1, 7, 30])) == {"r1": 0.25, "r5": 0.5, "r10": 0.75}


def test_the_report_names_every_locale_and_the_baselines(
    tmp_path: Path, emoji_root: Path, small_model: BabelCLIP, words: Tokenizer
) -> None:
    """Protects the shape of the report, with the nearest drawing far above chance on easy drawings."""
    checkpoint.save(tmp_path / "c", small_model, words, languages=["en"], training={})
    report = evaluate(tmp_path / "c", emoji_root)
    assert set(report["locales"]) == {"en", "de", "ja"}
    assert report["candidates"] == 4
    assert report["baselines"]["nearest_drawing"]["r1"] == 1.0
    assert report["baselines"]["random"]["r1"] == 0.25


def test_what_is_served_of_a_checkpoint_is_measured_like_it(
    tmp_path: Path, emoji_root: Path, small_model: BabelCLIP, words: Tokenizer
) -> None:
    """Protects the comparison from a loss that is its own: one model has one recall, served or not."""
    checkpoint.save(tmp_path / "c", small_model, words, languages=["en"], training={})
    served = LoadedModel(checkpoint.load(tmp_path / "c"), "c", torch.device("cpu"))
    before, after = evaluate(tmp_path / "c", emoji_root), evaluate(tmp_path / "c", emoji_root, served=served)
    assert after["locales"] == before["locales"]
    assert dropped(before, after)["r10_drop_mean"] == 0


def test_another_model_is_not_compared(
    tmp_path: Path, emoji_root: Path, small_model: BabelCLIP, words: Tokenizer
) -> None:
    """Protects a figure from being of whatever happened to be served: the spaces are named."""
    checkpoint.save(tmp_path / "c", small_model, words, languages=["en"], training={})
    served = LoadedModel(checkpoint.load(tmp_path / "c"), "c", torch.device("cpu"))
    served.space = "another"
    with pytest.raises(EvaluationError, match="serves the space another"):
        evaluate(tmp_path / "c", emoji_root, served=served)


def test_the_drop_is_told_in_the_mean_and_where_it_is_largest() -> None:
    """Protects a locale that loses much from the mean over those that lose nothing."""

    def report(**r10: float) -> dict[str, Any]:
        return {"locales": {locale: {"text_to_image": {"r10": value}} for locale, value in r10.items()}}

    found = dropped(report(en=0.9, sw=0.8), report(en=0.91, sw=0.75))
    assert found == {"r10_drop_mean": 0.02, "r10_drop_most": 0.05, "drop_most_locale": "sw"}
