"""The runtimes that execute a tower program. One interface: numpy arrays [N, ...] in, rows [N, dim] out.

torch         program.pt2, on any device, eager or compiled
onnxruntime   program.onnx, in float32 or, of 8-bit weights, in 8-bit integers, on CPUs
openvino      program.onnx, in float32 or bfloat16, on CPUs
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from handlers.batching import Array
from handlers.runtime.device import Placement
from handlers.runtime.imports import import_onnxruntime, import_openvino

_BFLOAT16 = "<Type: 'bfloat16'>"  # as OpenVINO writes it


class Runtime(Protocol):
    """A loaded program."""

    def __call__(self, *arrays: Array) -> NDArray[np.float32]:
        """The tower's inputs, each [N, ...] → float32 [N, dim]."""
        ...


def load(program: Path, placement: Placement, *, threads: int, low_memory: bool = False) -> Runtime:
    """The program in the runtime that the placement names; `threads` are those of one pass on a CPU.

    `low_memory` has ONNX Runtime widen stored weights in each pass instead of once.

    Raises:
        OSError, RuntimeError: the runtime cannot read the program or place it.
    """
    if placement.runtime == "onnxruntime":
        return _OnnxRuntime(program, threads=threads, low_memory=low_memory)
    if placement.runtime == "openvino":
        return _OpenVino(program, bfloat16=placement.dtype == "bfloat16", threads=threads)
    # Importing torch takes seconds and 200 MB, which a text tower on ONNX Runtime does without.
    from handlers.runtime.torch_runtime import TorchRuntime

    return TorchRuntime(program, placement, threads=threads)


class _OnnxRuntime:
    def __init__(self, program: Path, *, threads: int, low_memory: bool) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that spin while they wait hold the cores that the front end needs to pass the answer on.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Weights are mapped from program.onnx.data. What is folded at load becomes memory of this process.
        kept = ["ConstantFolding"] if low_memory else []
        self.session = onnxruntime.InferenceSession(
            str(program), options, providers=["CPUExecutionProvider"], disabled_optimizers=kept
        )
        self.names = [entry.name for entry in self.session.get_inputs()]

    def __call__(self, *arrays: Array) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = self.session.run(None, dict(zip(self.names, arrays, strict=True)))[0]
        return rows


class _OpenVino:
    def __init__(self, program: Path, *, bfloat16: bool, threads: int) -> None:
        openvino = import_openvino()
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
        }
        core = openvino.Core()
        model = core.read_model(str(program))
        if bfloat16:
            use_bf16_matmuls(model)
        self.request = core.compile_model(model, "CPU", options).create_infer_request()

    def __call__(self, *arrays: Array) -> NDArray[np.float32]:
        found = self.request.infer(dict(enumerate(arrays)), share_inputs=True)
        rows: NDArray[np.float32] = found[0]
        return rows


def use_bf16_matmuls(model: Any) -> int:
    """Have an OpenVINO model multiply by its bfloat16 weights as stored; returns how many matmuls changed.

    The program widens each stored weight to float32 before it multiplies, because ONNX Runtime has no other
    way. OpenVINO would widen them once, at load, keep the result, and narrow it again for its matmuls: 340 MB
    more for XLM-R base, with the same vectors.
    """
    operations = importlib.import_module("openvino.opset13")
    changed = 0
    for matmul in model.get_ordered_ops():
        if matmul.get_type_name() != "MatMul":
            continue
        widening = matmul.input_value(1).get_node()
        while widening.get_type_name() in ("Transpose", "Reshape"):
            widening = widening.input_value(0).get_node()
        if widening.get_type_name() != "Convert":
            continue
        stored = widening.input_value(0)
        if stored.get_node().get_type_name() != "Constant" or str(stored.get_element_type()) != _BFLOAT16:
            continue
        for reader in widening.output(0).get_target_inputs():
            reader.replace_source_output(stored)
        narrow = operations.convert(matmul.input_value(0), "bf16")
        matmul.input(0).replace_source_output(narrow.output(0))
        readers = matmul.output(0).get_target_inputs()
        wide = operations.convert(matmul, "f32")
        for reader in readers:
            reader.replace_source_output(wide.output(0))
        changed += 1
    model.validate_nodes_and_infer_types()
    return changed
