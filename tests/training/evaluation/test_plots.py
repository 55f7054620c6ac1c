import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.places import REPOSITORY
from training.evaluation import plots
from training.evaluation.errors import EvaluationError
from training.evaluation.results import Result

METRICS = {"image_retrieval_recall@10": 0.8, "text_retrieval_recall@10": 0.7}


def results() -> list[Result]:
    intervals = {"image_retrieval_recall@10": (0.7, 0.9)}
    return [
        Result("xtd", "mini", "", "zeroshot_retrieval", METRICS, code, intervals)
        for code in ("de", "ja", "zh")
    ]


def test_plots_are_pictures(tmp_path: Path) -> None:
    """Protects both plots: of results with and without intervals, and of the committed checkpoint's log."""
    plots.recall_by_language(results(), tmp_path / "recall.png")
    plots.training_curves(
        REPOSITORY / "training/recipes/mini/checkpoint/log.jsonl", tmp_path / "training.png"
    )
    for name in ("recall.png", "training.png"):
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG"
            assert len(image.convert("RGB").getcolors(100_000) or []) > 3


def test_without_matplotlib_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Protects training's own environment, which has no matplotlib: only a plot asks for it."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EvaluationError, match="plots need matplotlib"):
        plots.recall_by_language(results(), tmp_path / "recall.png")


def test_what_cannot_be_drawn_is_named(tmp_path: Path) -> None:
    """Protects from a traceback over another file than was meant."""
    with pytest.raises(EvaluationError, match=r"xtd, de: the result has no image_retrieval_recall@5"):
        plots.recall_by_language(results(), tmp_path / "recall.png", k=5)
    log = tmp_path / "log.jsonl"
    for text, message in (
        ("{", "is no log"),
        ('{"loss": 1}', "line 1: it must have a step"),
        ("", "is empty"),
    ):
        log.write_text(text, encoding="utf-8")
        with pytest.raises(EvaluationError, match=message):
            plots.training_curves(log, tmp_path / "training.png")
