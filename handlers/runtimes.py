"""What executes a tower program. One interface: numpy arrays [N, ...] in, rows [N, dim] out.

torch         program.pt2, on any device, eager or compiled
onnxruntime   program.onnx, float32, on CPUs
openvino      program.onnx, float32 or bfloat16, on CPUs
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export.passes import move_to_device_pass

from handlers.batching import Array
from handlers.device import Placement

# Operators that autocast runs in the lower precision on every device: their weights can be cast in advance.
_PRODUCTS = ("linear", "conv1d", "conv2d", "conv3d", "matmul", "mm", "bmm", "addmm", "baddbmm")


class Runtime(Protocol):
    """A loaded program."""

    def __call__(self, *arrays: Array) -> NDArray[np.float32]:
        """The tower's inputs, each [N, ...] → float32 [N, dim]."""
        ...


def load(program: Path, placement: Placement, *, threads: int) -> Runtime:
    """The program in the runtime that the placement names; `threads` are those of one pass on a CPU.

    Raises:
        OSError, RuntimeError: the runtime cannot read the program or place it.
    """
    if placement.runtime == "onnxruntime":
        return _OnnxRuntime(program, threads=threads)
    if placement.runtime == "openvino":
        return _OpenVino(program, bfloat16=placement.dtype == torch.bfloat16, threads=threads)
    return _Torch(program, placement, threads=threads)


class _Torch:
    def __init__(self, program: Path, placement: Placement, *, threads: int) -> None:
        self.placement = placement
        if placement.kind == "cpu":
            torch.set_num_threads(threads)
        exported = torch.export.load(str(program))
        if placement.device != "cpu":
            # Tensors that the program makes by itself (positions, say) have their device written into it.
            exported = move_to_device_pass(exported, placement.device)
        module = exported.module()
        if placement.autocast:
            _prepare_for_autocast(module, placement.dtype)
        self.run = _compiled(module, placement)

    def __call__(self, *arrays: Array) -> NDArray[np.float32]:
        placement = self.placement
        tensors = [torch.from_numpy(array).to(placement.device) for array in arrays]
        autocast = torch.autocast(
            torch.device(placement.device).type, dtype=torch.bfloat16, enabled=placement.autocast
        )
        with torch.inference_mode(), autocast:
            vectors: torch.Tensor = self.run(*tensors)
        return vectors.to("cpu", torch.float32).numpy()


class _OnnxRuntime:
    def __init__(self, program: Path, *, threads: int) -> None:
        onnxruntime = importlib.import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that spin while they wait hold the cores that the front end needs to pass the answer on.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(str(program), options, providers=["CPUExecutionProvider"])
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


def _prepare_for_autocast(module: torch.fx.GraphModule, dtype: torch.dtype) -> None:
    """Cast once, in place, the weights that autocast would cast in every pass: those of matrix products."""
    products = [getattr(torch.ops.aten, name) for name in _PRODUCTS]
    users: dict[str, list[torch.fx.Node]] = {}
    for node in list(module.graph.nodes):
        if node.op == "get_attr":
            users.setdefault(node.target, []).extend(node.users)
        elif node.target is torch.ops.aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)  # It asserts float32 where autocast has its own dtype.
    module.recompile()
    for target, nodes in users.items():
        parameter: Any = module
        for name in target.split("."):
            parameter = getattr(parameter, name)
        cast = all(getattr(node.target, "overloadpacket", None) in products for node in nodes)
        if cast and isinstance(parameter, torch.Tensor) and parameter.dtype == torch.float32:
            parameter.data = parameter.data.to(dtype)


def _compiled(module: torch.fx.GraphModule, placement: Placement) -> Callable[..., Any]:
    if placement.compiler == "hpu_graph":
        hpu = importlib.import_module("habana_frameworks.torch.hpu")
        graph: Callable[..., Any] = hpu.wrap_in_hpu_graph(module)
        return graph
    if placement.compiler == "none":
        return module
    compiled: Callable[..., Any] = torch.compile(module, backend=placement.compiler, dynamic=False)
    return compiled
