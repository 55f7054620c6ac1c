import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from models import checkpoint
from models.modules import BabelCLIP
from tests.places import MINI


@pytest.fixture
def folder(tmp_path: Path, small_model: BabelCLIP, words: Tokenizer) -> Path:
    target = tmp_path / "model"
    checkpoint.save(target, small_model, words, languages=["en"], training={"steps": 1}, dtype=torch.float32)
    return target


def test_a_checkpoint_gives_the_same_vectors(folder: Path, small_model: BabelCLIP) -> None:
    """Protects weights on their way through the files."""
    loaded = checkpoint.load(folder).model
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(loaded.vision(pixels), small_model.vision(pixels), atol=0, rtol=0)
        torch.testing.assert_close(loaded.scale(), small_model.scale(), atol=1e-3, rtol=0)


def test_the_space_is_that_of_the_content(
    folder: Path, tmp_path: Path, small_model: BabelCLIP, words: Tokenizer
) -> None:
    """Protects the space: equal models share one, and any other weight makes another."""
    again, other = tmp_path / "again", tmp_path / "other"
    options: dict[str, Any] = {"languages": ["en"], "training": {}, "dtype": torch.float32}
    space = checkpoint.load(folder).meta["space"]
    assert checkpoint.save(again, small_model, words, **options) == space
    with torch.no_grad():
        small_model.text.get_parameter("projection.weight")[0, 0] += 1
    assert checkpoint.save(other, small_model, words, **options) != space


def test_the_committed_checkpoint_written_again_keeps_its_space(tmp_path: Path) -> None:
    """Protects indexes of its vectors: names and order of the weights in its files are what they were."""
    committed = checkpoint.load(MINI)
    assert committed.write is not None
    committed.write(committed, tmp_path / "again", {"steps": 0})
    again = checkpoint.load(tmp_path / "again")
    assert again.meta["space"] == committed.meta["space"]
    assert again.meta["training"]["before"] == committed.meta["training"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "meta.json").unlink(), "no meta.json"),
        (lambda f: (f / "meta.json").write_text("{"), "no JSON"),
        (lambda f: (f / "meta.json").write_text("{}"), "format"),
        (lambda f: (f / "text.safetensors").unlink(), "text.safetensors"),
        (lambda f: (f / "vision.safetensors").write_bytes(b"\0" * 40), "vision.safetensors"),
        (lambda f: (f / "text.safetensors").replace(f / "vision.safetensors"), "safetensors"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer.json"),
        (lambda f: edit_meta(f, "space", "0" * 16), "but meta.json says"),
    ],
)
def test_a_damaged_checkpoint_is_refused_with_the_reason(
    folder: Path, damage: Callable[[Path], object], said: str
) -> None:
    """Protects an operator from exporting files that do not belong together."""
    damage(folder)
    with pytest.raises(checkpoint.CheckpointError, match=said):
        checkpoint.load(folder)


def edit_meta(folder: Path, key: str, value: object) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {key: value}))
