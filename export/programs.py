"""Tower programs: a tower of a checkpoint as a device-independent `.pt2` and as ONNX.

text     ids int64 [N, L], mask int64 [N, L] (1 = token, 0 = padding) → float32 [N, D]
vision   pixels uint8 [N, S, S, 3] → float32 [N, D]

N is any batch size, L any length from 2 to the tower's token limit. Rows are unit vectors. A `.pt2` with
bfloat16 weights also computes in bfloat16; an ONNX program computes in float32 whatever it stores.
"""

import copy
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from export import storage
from export.options import Options
from handlers.runtime import torch_runtime
from handlers.runtime.imports import import_onnxruntime
from models.dual_encoder import DualEncoder

MAX_BATCH = 1024  # the largest N a program accepts; a bound that every runtime can plan for
FILES = {"pt2": ("program.pt2",), "onnx": ("program.onnx", "program.onnx.data")}
INPUTS = {"text": ["ids", "mask"], "vision": ["pixels"]}

Program = Callable[..., Tensor]


def example_inputs(model: DualEncoder, tower: str) -> tuple[Tensor, ...]:
    """Inputs of a shape that no dimension is specialised on."""
    if tower == "text":
        ids = torch.full((3, 7), 5, dtype=torch.int64)
        return ids, torch.ones_like(ids)
    size = model.config.vision.size
    return (torch.zeros(3, size, size, 3, dtype=torch.uint8),)


def dynamic_shapes(model: DualEncoder, tower: str) -> tuple[dict[int, Any], ...]:
    """Which dimensions of the inputs vary, and within what bounds."""
    batch = Dim("batch", min=1, max=MAX_BATCH)
    if tower == "text":
        length = Dim("length", min=2, max=model.config.text.max_tokens)
        return {0: batch, 1: length}, {0: batch, 1: length}
    return ({0: batch},)


def trace(model: DualEncoder, tower: str, *, bfloat16: bool = False) -> ExportedProgram:
    """The tower as an exported program, free of this repository's classes; its output stays float32."""
    module = getattr(model, tower)
    if bfloat16:
        module = copy.deepcopy(module).to(torch.bfloat16)
    with torch.no_grad():
        return torch.export.export(
            module.eval(), example_inputs(model, tower), dynamic_shapes=dynamic_shapes(model, tower)
        )


def write_all(model: DualEncoder, tower: str, folder: Path, options: Options) -> dict[str, Path]:
    """Write a tower's program in every form that was asked for, into `folder`; returns {form: path}.

    Tracing takes a third of the time, so both forms are made of one trace where they hold the same weights.
    """
    paths = {form: folder / FILES[form][0] for form in options.forms}
    traced: ExportedProgram | None = None
    for form, path in paths.items():
        if form == "pt2" and options.dtype == "bfloat16":
            torch.export.save(trace(model, tower, bfloat16=True), path)
            continue
        traced = traced or trace(model, tower)
        if form == "pt2":
            torch.export.save(traced, path)
        else:
            write_onnx(traced, tower, path, options.dtype)
    return paths


def write_onnx(traced: ExportedProgram, tower: str, path: Path, dtype: str = "float32") -> None:
    """A traced tower as ONNX: the program in `path`, its weights, in `dtype`, beside it in `path`.data."""
    for noisy in ("onnxscript", "torch.onnx._internal.exporter._registration"):
        logging.getLogger(noisy).setLevel(logging.ERROR)  # they warn that torchvision, not needed, is missing
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        made = torch.onnx.export(
            # Of a module itself torch 2.9 makes a program for several rows only.
            traced,
            input_names=INPUTS[tower],
            output_names=["vectors"],
            dynamo=True,
            verbose=False,
        )
    if made is None:  # By its types the exporter may give nothing; with `dynamo` it never does.
        raise RuntimeError(f"torch wrote no ONNX program of the {tower} tower")
    storage.store(made.model, dtype)
    storage.write(made.model, path)
    # The exporter's rules keep what they last matched, and with it all weights, which are written now.
    for value in made.model.graph.initializers.values():
        value.const_value = None


def load(path: Path) -> Program:
    """A written program, by the runtime that its form is for."""
    if path.suffix == ".pt2":
        return torch_runtime.read(path).module()
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # else all cores, whoever needs them
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(*arrays: Tensor) -> Tensor:
        inputs = {name: array.numpy() for name, array in zip(names, arrays, strict=True)}
        return torch.from_numpy(session.run(None, inputs)[0])

    return run
