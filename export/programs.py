"""Tower programs: a tower of a checkpoint as a device-independent `.pt2` and as ONNX.

text     ids int64 [N, L], mask int64 [N, L] (1 = token, 0 = padding) → float32 [N, D]
vision   pixels uint8 [N, S, S, 3] → float32 [N, D]

N is any batch size, L any length from 2 to the tower's token limit. Rows are unit vectors.
"""

import copy
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from training.models import DualEncoder

MAX_BATCH = 1024  # the largest N a program accepts; a bound that every runtime can plan for
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def example_inputs(model: DualEncoder, tower: str) -> tuple[Tensor, ...]:
    """Inputs of a shape that no dimension is specialised on."""
    if tower == "text":
        ids = torch.full((3, 7), 5, dtype=torch.int64)
        return ids, torch.ones_like(ids)
    size = model.config.vision.size
    return (torch.zeros(3, size, size, 3, dtype=torch.uint8),)


def dynamic_shapes(model: DualEncoder, tower: str) -> tuple[dict[int, Dim], ...]:
    batch = Dim("batch", min=1, max=MAX_BATCH)
    if tower == "text":
        length = Dim("length", min=2, max=model.config.text.max_tokens)
        return {0: batch, 1: length}, {0: batch, 1: length}
    return ({0: batch},)


def in_dtype(model: DualEncoder, tower: str, dtype: str) -> nn.Module:
    """A copy of the tower with weights and arithmetic of `dtype`; its output stays float32."""
    return copy.deepcopy(getattr(model, tower)).to(DTYPES[dtype]).eval()


def trace(model: DualEncoder, tower: str, dtype: str) -> ExportedProgram:
    """The tower as an exported program, free of this repository's classes."""
    with torch.no_grad():
        return torch.export.export(
            in_dtype(model, tower, dtype),
            example_inputs(model, tower),
            dynamic_shapes=dynamic_shapes(model, tower),
        )


def write_pt2(program: ExportedProgram, path: Path) -> None:
    torch.export.save(program, path)


def write_onnx(model: DualEncoder, tower: str, path: Path) -> None:
    """The float32 tower as one ONNX file; inputs are named as above, the output `vectors`."""
    names = {"text": ["ids", "mask"], "vision": ["pixels"]}[tower]
    for noisy in ("onnxscript", "torch.onnx._internal.exporter._registration"):
        logging.getLogger(noisy).setLevel(logging.ERROR)  # tells of torchvision, which is not needed
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            in_dtype(model, tower, "float32"),
            example_inputs(model, tower),
            path,
            input_names=names,
            output_names=["vectors"],
            dynamic_shapes=dynamic_shapes(model, tower),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
