"""Lets torchvision be imported beside a torch that its compiled half was not built for.

open_clip, timm and transformers import torchvision for its image transforms. PyPI's torchvision is built for
the CUDA torch; beside the CPU-only one its library does not load, and then the import fails at the first of
its operators. None of them is used here, so it is enough that they are declared.
"""

import importlib.util
from pathlib import Path

import torch

_SIGNATURES = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []  # A library takes its declarations with it when it goes.


def declare_missing() -> None:
    """Declare the operators that torchvision's own library cannot; must run before torchvision's import."""
    found = importlib.util.find_spec("torchvision")
    if _declared or found is None or found.origin is None:
        return
    for library in Path(found.origin).parent.glob("_C*.*"):  # _C_stable in newer ones
        try:
            torch.ops.load_library(library)
        except OSError:
            continue
        return
    _declared.append(torch.library.Library("torchvision", "DEF"))
    for signature in _SIGNATURES:
        _declared[0].define(signature)
