"""The runtime of `program.pt2`: torch, on any device, eager or compiled."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from handlers.batching import Array
from handlers.runtime.device import Placement

# Operators that autocast runs in the lower precision on every device: their weights can be cast in advance.
_MATMULS = ("linear", "conv1d", "conv2d", "conv3d", "matmul", "mm", "bmm", "addmm", "baddbmm")


class TorchRuntime:
    """A loaded program; see `handlers.runtime.runtimes.Runtime`."""

    def __init__(self, program: Path, placement: Placement, *, threads: int) -> None:
        self.placement = placement
        if placement.kind == "cpu":
            torch.set_num_threads(threads)
        exported = read(program)
        if placement.device != "cpu":
            # Tensors that the program makes by itself (positions, say) have their device written into it.
            exported = move_to_device_pass(exported, placement.device)
        module = exported.module()
        if placement.autocast:
            _prepare_for_autocast(module)
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


def read(program: Path) -> ExportedProgram:
    """A program as it is stored."""
    with warnings.catch_warnings():
        # torch 2.9, which Gaudi's containers have, warns of weights that must not be written; they are not.
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        return torch.export.load(str(program))


def _prepare_for_autocast(module: torch.fx.GraphModule) -> None:
    """Cast once, in place, the weights that autocast would cast in every pass: those of matmuls."""
    matmuls = [getattr(torch.ops.aten, name) for name in _MATMULS]
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
        cast = all(getattr(node.target, "overloadpacket", None) in matmuls for node in nodes)
        if cast and isinstance(parameter, torch.Tensor) and parameter.dtype == torch.float32:
            parameter.data = parameter.data.to(torch.bfloat16)


def _compiled(module: torch.fx.GraphModule, placement: Placement) -> Callable[..., Any]:
    if placement.compiler == "hpu_graph":
        hpu = importlib.import_module("habana_frameworks.torch.hpu")
        graph: Callable[..., Any] = hpu.wrap_in_hpu_graph(module)
        return graph
    if placement.compiler == "none":
        return module
    compiled: Callable[..., Any] = torch.compile(module, backend=placement.compiler, dynamic=False)
    return compiled
