from pathlib import Path

import pytest
from tokenizers import Tokenizer

from export.options import Options
from export.pipeline import export
from models import checkpoint
from tests.miniature import emoji_root, make_model, small_model, words
from tests.shared import made_once

__all__ = ["emoji_root", "small_model", "words"]


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory, words: Tokenizer) -> Path:
    """A folder of the miniature's checkpoint, test, and its export, store: version 2.0 in both forms."""

    def make(folder: Path) -> None:
        checkpoint.save(folder / "test", make_model(words), words, languages=["en"], training={})
        export(folder / "test", folder / "store", Options(version="2.0"))

    return made_once(tmp_path_factory, "miniature", make)
