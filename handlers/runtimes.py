"""What executes a tower program. One interface: numpy arrays [N, ...] in, rows [N, dim] out.

torch         program.pt2, on any device, eager or compiled
onnxruntime   program.onnx, in float32 or, of 8-bit weights, in 8-bit integers, on CPUs
openvino      program.onnx, in float32 or bfloat16, on CPUs
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from handlers.batching import Array
from handlers.device import Placement


class Runtime(Protocol):
    """A loaded program."""

    def __call__(self, *arrays: Array) -> NDArray[np.float32]:
        """The tower's inputs, each [N, ...] → float32 [N, dim]."""
        ...


def load(program: Path, placement: Placement, *, threads: int, lean: bool = False) -> Runtime:
    """The program in the runtime that the placement names; `threads` are those of one pass on a CPU.

    `lean` has ONNX Runtime widen stored weights in each pass instead of once.

    Raises:
        OSError, RuntimeError: the runtime cannot read the program or place it.
    """
    if placement.runtime == "onnxruntime":
        return _OnnxRuntime(program, threads=threads, lean=lean)
    if placement.runtime == "openvino":
        return _OpenVino(program, bfloat16=placement.dtype == "bfloat16", threads=threads)
    # Importing torch takes seconds and 200 MB, which a text tower on ONNX Runtime does without.
    from handlers.torch_runtime import TorchRuntime

    return TorchRuntime(program, placement, threads=threads)


class _OnnxRuntime:
    def __init__(self, program: Path, *, threads: int, lean: bool) -> None:
        onnxruntime = importlib.import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that spin while they wait hold the cores that the front end needs to pass the answer on.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Weights are mapped from program.onnx.data. What is folded at load becomes memory of this process.
        kept = ["ConstantFolding"] if lean else []
        self.session = onnxruntime.InferenceSession(
            str(program), options, providers=["CPUExecutionProvider"], disabled_optimizers=kept
        )
        self.names = [entry.name for entry in self.session.get_inputs()]

    def __call__(self, *arrays: Array) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = self.session.run(None, dict(zip(self.names, arrays, strict=True)))[0]
        return rows


class _OpenVino:
    def __init__(self, program: Path, *, bfloat16: bool, threads: int) -> None:
        openvino = importlib.import_module("openvino")
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
        }
        core = openvino.Core()
        self.request = core.compile_model(str(program), "CPU", options).create_infer_request()

    def __call__(self, *arrays: Array) -> NDArray[np.float32]:
        found = self.request.infer(dict(enumerate(arrays)), share_inputs=True)
        rows: NDArray[np.float32] = found[0]
        return rows
