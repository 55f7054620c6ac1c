"""The only place that knows HPU, CUDA and CPU: where a tower runs, in which dtype, in which shapes.

Device: `babelclip.device` in model-config.yaml, else the environment's BABELCLIP_DEVICE, else automatic: HPU
where Gaudi's software is installed and the container was given a card (HABANA_VISIBLE_DEVICES), CUDA where
TorchServe assigned a GPU, else CPU. What was asked for and is not there stops the load.

Dtype: a float32 program runs its matrix products in bfloat16 where the hardware multiplies bfloat16 (HPU,
CUDA from Ampere on, CPUs with AMX or AVX512-BF16), through autocast with the weights cast once. Emulated
bfloat16 is up to a hundred times slower, so all else runs in float32. A bfloat16 program runs as it is.

Shapes: HPU and compiled programs meet only the declared ones (rows padded to a power of two), each warmed up
before the worker is ready. Padded rows repeat the last valid row and are dropped.

HPU: eager mode with `torch.compile(backend="hpu_backend")` by default; with PT_HPU_LAZY_MODE=1 an HPU graph.
Set it in the server's environment, because torch may load Gaudi's software on import. No Gaudi card was
available to this project: the order of calls, the shapes and the padding are tested with a stand-in for
Gaudi's software; its kernels, numerics and speed are not.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export.passes import move_to_device_pass

from handlers.batching import Array

# Operators that autocast runs in the lower precision on every device: their weights can be cast in advance.
_PRODUCTS = ("linear", "conv1d", "conv2d", "conv3d", "matmul", "mm", "bmm", "addmm", "baddbmm")
# Tokens that one more forward pass is worth: launching and reading the weights costs as much as computing
# these. Rough on purpose; it decides only whether a few short texts are padded or run by themselves.
_PASS_COST = {"cpu": 64, "cuda": 2048, "hpu": 2048}


@dataclass(frozen=True)
class Placement:
    """Where and how a tower runs."""

    kind: str
    """cpu, cuda or hpu."""
    device: str
    """torch's name of the device, such as "cuda:1"."""
    dtype: torch.dtype
    """Of the matrix products."""
    autocast: bool
    """Whether `dtype` is reached by autocast (the program itself is float32)."""
    compiler: str
    """none, inductor, hpu_backend or hpu_graph."""

    @property
    def static(self) -> bool:
        """Whether a new shape costs a compilation, so that only declared shapes may occur."""
        return self.compiler != "none"

    @property
    def pass_cost(self) -> int:
        """Tokens that one more forward pass is worth; see `plan_lengths`."""
        return _PASS_COST[self.kind]


def choose(*, device: str, dtype: str, compile: bool, gpu_id: int | None, program_dtype: str) -> Placement:
    """Settings and what TorchServe assigned → the placement. Probes the machine; sets up Gaudi's software.

    Raises:
        RuntimeError: the device that was asked for is not available.
        ValueError: the program is of another dtype than was asked for, or an unknown one.
    """
    kind = _kind(device, gpu_id)
    if program_dtype not in ("float32", "bfloat16"):
        raise ValueError(f"meta.json names the dtype {program_dtype!r}; float32 and bfloat16 are known")
    if program_dtype == "bfloat16" and dtype == "float32":
        raise ValueError("babelclip.dtype is float32 and the archive holds a bfloat16 program")
    compiler = "inductor" if compile else "none"
    if kind == "hpu":
        compiler = _start_hpu()
    autocast = program_dtype == "float32" and (
        dtype == "bfloat16" or (dtype == "auto" and multiplies_bfloat16(kind))
    )
    return Placement(
        kind=kind,
        device=f"cuda:{gpu_id or 0}" if kind == "cuda" else kind,
        dtype=torch.bfloat16 if autocast or program_dtype == "bfloat16" else torch.float32,
        autocast=autocast,
        compiler=compiler,
    )


def _kind(device: str, gpu_id: int | None) -> str:
    wanted = os.environ.get("BABELCLIP_DEVICE", "auto") if device == "auto" else device
    if wanted == "auto":
        cards = os.environ.get("HABANA_VISIBLE_DEVICES", "")
        if cards not in ("", "void") and importlib.util.find_spec("habana_frameworks") is not None:
            return "hpu"
        return "cuda" if gpu_id is not None and torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("the device cuda was asked for, and torch finds no GPU")
    if wanted not in ("cpu", "cuda", "hpu"):
        raise RuntimeError(f"BABELCLIP_DEVICE must be auto, cpu, cuda or hpu, not {wanted!r}")
    return wanted


def _start_hpu() -> str:
    """Import Gaudi's software in its order: mode, core, then the question whether there is a card."""
    os.environ.setdefault("PT_HPU_LAZY_MODE", "0")
    try:
        importlib.import_module("habana_frameworks.torch.core")
        hpu = importlib.import_module("habana_frameworks.torch.hpu")
    except ImportError as error:
        raise RuntimeError("the device hpu was asked for, and Gaudi's software is not installed") from error
    if not hpu.is_available():
        raise RuntimeError("the device hpu was asked for, and no Gaudi card is free")
    return "hpu_graph" if os.environ["PT_HPU_LAZY_MODE"] == "1" else "hpu_backend"


def multiplies_bfloat16(kind: str) -> bool:
    """Whether the hardware multiplies bfloat16 by itself, which emulation does not count as."""
    if kind == "hpu":
        return True
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, check, bool)()) for check in checks)


def cpu_cores() -> int:
    """Cores this process may use: its affinity, and a container's quota where one is set."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # No cgroup version 2, or no quota ("max").
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    return cores


def row_buckets(max_batch: int) -> tuple[int, ...]:
    """Row counts of a static program: powers of two below `max_batch`, and `max_batch`."""
    powers = [1 << exponent for exponent in range(max_batch.bit_length())]
    return (*(rows for rows in powers if rows < max_batch), max_batch)


class Runner:
    """A tower program on its device: numpy arrays in, float32 vectors [N, dim] out, L2-normalised."""

    def __init__(self, program: Path, placement: Placement, *, max_batch: int, threads: int) -> None:
        """Load the program; nothing is computed before `warm_up`.

        Raises:
            OSError, RuntimeError: torch cannot read the program or place it.
        """
        self.placement = placement
        self.row_buckets = row_buckets(max_batch)
        self._probe: tuple[Array, ...] | None = None
        if placement.kind == "cpu":
            torch.set_num_threads(threads)
        exported = torch.export.load(str(program))
        if placement.device != "cpu":
            # Tensors that the program makes by itself (positions, say) have their device written into it.
            exported = move_to_device_pass(exported, placement.device)
        module = exported.module()
        if placement.autocast:
            _prepare_for_autocast(module, placement.dtype)
        self._run = _compiled(module, placement)

    def padded_rows(self, rows: int) -> int:
        """How many rows are computed for `rows` items, at most the largest batch."""
        if not self.placement.static:
            return rows
        return next(size for size in self.row_buckets if size >= rows)

    def __call__(self, *arrays: Array) -> NDArray[np.float32]:
        """The tower's inputs, each [N, ...] → float32 [N, dim]. Rows never influence each other.

        Raises:
            RuntimeError: torch failed, for want of memory for instance.
        """
        rows = len(arrays[0])
        padding = self.padded_rows(rows) - rows
        if padding:
            arrays = tuple(
                np.concatenate([array, np.repeat(array[-1:], padding, axis=0)]) for array in arrays
            )
        placement = self.placement
        tensors = [torch.from_numpy(array).to(placement.device) for array in arrays]
        autocast = torch.autocast(
            torch.device(placement.device).type, dtype=torch.bfloat16, enabled=placement.autocast
        )
        with torch.inference_mode(), autocast:
            vectors: torch.Tensor = self._run(*tensors)
        vectors = vectors[:rows].to("cpu", torch.float32)
        if placement.dtype != torch.float32:
            # Rounding to eight bits leaves a norm up to 0.4 % away from 1.
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return vectors.numpy()

    def warm_up(self, examples: Callable[[int], Iterable[tuple[Array, ...]]], buckets: int) -> None:
        """Run every shape once: `examples(rows)` gives one input for each of the `buckets` lengths.

        A static program meets every declared number of rows; another one the smallest and the largest.
        """
        row_counts: Iterable[int] = self.row_buckets
        if self.placement.static:
            # Beyond its limit of recompilations, 8 unless told, torch silently stops compiling.
            config: Any = importlib.import_module("torch._dynamo.config")
            config.recompile_limit = max(config.recompile_limit, len(self.row_buckets) * buckets)
        else:
            row_counts = sorted({1, self.row_buckets[-1]})
        for rows in row_counts:
            for arrays in examples(rows):
                self._probe = self._probe or arrays
                self(*arrays)

    def lost(self) -> bool:
        """Whether the device fails on input that it could embed at start: only a new process helps then.

        A CUDA context is unusable after an illegal access or a failed assertion on the device.
        """
        try:
            if self._probe is not None:
                self(*self._probe)
        except Exception:
            return True
        return False


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
