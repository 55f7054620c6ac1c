"""docs/classifiers.md: its programs and commands, as they stand, with the committed model."""

import os
import sys
from pathlib import Path

import pytest

from tests.guides import blocks, run_block
from tests.needs import needs
from tests.places import REPOSITORY
from tests.shared import mini_store

needs("sklearn", reason="scikit-learn is not installed")

pytestmark = pytest.mark.slow  # runs a model


def test_the_guide_from_top_to_bottom(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader who copies the guide trains a head, classifies by it, and sees what matches no class."""
    (tmp_path / "model_store").symlink_to(mini_store(tmp_path_factory))
    (tmp_path / "training").symlink_to(REPOSITORY / "training")
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY), prepend=os.pathsep)
    printed = [
        run_block(language, code, tmp_path, monkeypatch) for language, code in blocks("classifiers.md")
    ]
    _, commands, program = printed
    assert '"labels": 3' in commands
    assert "accuracy" in commands
    cat, car = (line.split() for line in program.strip().splitlines())
    assert cat[:2] == ["cat", "cat"]
    assert car[0] == "None"
