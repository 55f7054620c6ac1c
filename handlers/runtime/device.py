"""Where a tower runs, in which dtype and by which runtime. Nothing is probed at import.

Device: `babelclip.device` in model-config.yaml, else the environment's BABELCLIP_DEVICE, else automatic: HPU
where Gaudi's software is installed and the container was given a card (HABANA_VISIBLE_DEVICES), CUDA where
TorchServe assigned a GPU, else CPU. What was asked for and is not there stops the load.

Dtype: matmuls run in bfloat16 where the hardware has it natively (HPU, CUDA from Ampere on, CPUs with AMX or
AVX512-BF16), whether the archive stores its weights in float32 or in bfloat16. Emulated bfloat16 is up to a
hundred times slower, so other hardware computes in float32, by the archive's ONNX program; where it holds
none, bfloat16 is emulated. 8-bit weights are for ONNX Runtime on CPUs, which multiplies 8-bit integers.
`babelclip.dtype` decides otherwise, else the environment's BABELCLIP_DTYPE.

Runtime: torch on HPU and CUDA. On CPUs ONNX Runtime, which is the fastest in float32; with native bfloat16
OpenVINO, or torch where it is clearly faster: handlers.runtime.choice measures it once and keeps the result.
`babelclip.runtime` decides otherwise, else the environment's BABELCLIP_RUNTIME.
docs/decisions/0003-runtimes.md has the measurements.

HPU: eager mode with `torch.compile(backend="hpu_backend")` by default; with PT_HPU_LAZY_MODE=1 an HPU graph.
Set it in the server's environment, because torch may load Gaudi's software on import. No Gaudi card was
available to this project: the order of calls, the shapes and the padding are tested with a stand-in for
Gaudi's software; its kernels, numerics and speed are not.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Runtime → the form of the program that it reads, and the package it needs.
_NEEDS = {
    "torch": ("pt2", "torch"),
    "onnxruntime": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
}
RUNTIMES = tuple(_NEEDS)
PROGRAM_DTYPES = ("float32", "bfloat16", "int8")


@dataclass(frozen=True)
class Placement:
    """Where and how a tower runs."""

    kind: str
    """cpu, cuda or hpu."""
    device: str
    """torch's name of the device, such as "cuda:1"."""
    dtype: str
    """Of the matmuls: float32, bfloat16, or int8 where ONNX Runtime multiplies 8-bit weights."""
    autocast: bool
    """Whether torch reaches `dtype` by autocast (the program itself is float32)."""
    compiler: str
    """none, inductor, hpu_backend or hpu_graph."""
    runtime: str = "torch"
    """One of RUNTIMES."""

    @property
    def form(self) -> str:
        """The form of the program that the runtime reads: pt2 or onnx."""
        return _NEEDS[self.runtime][0]

    @property
    def static(self) -> bool:
        """Whether a new shape costs a compilation, so that only declared shapes may occur."""
        return self.compiler != "none"

    @property
    def keeps_shapes(self) -> bool:
        """Whether memory grows with each new shape for as long as the worker lives, so that few may occur.

        On CPUs OpenVINO keeps kernels for every shape (1.5 to 1.8 MB each, whatever its size), torch a
        tenth of that. ONNX Runtime keeps nothing, and CUDA's kernels do not depend on the shape.
        """
        return self.static or (self.kind == "cpu" and self.runtime != "onnxruntime")


def choose(
    *,
    device: str,
    dtype: str,
    compile: bool,
    runtime: str,
    gpu_id: int | None,
    program_dtype: str,
    forms: Collection[str],
) -> list[Placement]:
    """Settings and what TorchServe assigned → the placements in question, the preferred one first.

    `forms` are those of the program in the archive, "pt2" or "onnx" or both. Probes the machine; sets up
    Gaudi's software.

    Raises:
        RuntimeError: the device or the runtime that was asked for is not available, or the archive lacks the
            form of the program that is needed.
        ValueError: the archive cannot run in the dtype that was asked for, or its own is unknown; the
            settings contradict each other.
    """
    kind = _kind(device, gpu_id)
    dtype = _wanted_dtype(dtype)
    runtime = _wanted_runtime(runtime)
    if program_dtype not in PROGRAM_DTYPES:
        raise ValueError(f"meta.json names the dtype {program_dtype!r}; known: {', '.join(PROGRAM_DTYPES)}")
    if program_dtype == "int8" and (kind != "cpu" or compile or dtype == "bfloat16"):
        raise ValueError("the archive's 8-bit weights are for CPUs, without babelclip.compile or bfloat16")
    if runtime not in ("auto", "torch") and (kind != "cpu" or compile):
        raise ValueError(f"babelclip.runtime {runtime} is for CPUs, without babelclip.compile")
    compiler = "inductor" if compile else "none"
    if kind == "hpu":
        compiler = _start_hpu()
    lower = dtype == "bfloat16" or (dtype == "auto" and has_native_bfloat16(kind))
    if kind != "cpu" or compile:
        names = _runtimes("torch", lower, forms)
    elif program_dtype == "int8":
        names = _runtimes("onnxruntime" if runtime == "auto" else runtime, lower, forms)
    else:
        names = _runtimes(runtime, lower, forms)
    if program_dtype == "bfloat16" and dtype == "float32" and "torch" in names:
        raise ValueError("babelclip.dtype is float32 and the archive's program for torch is of bfloat16")
    return [
        Placement(
            kind=kind,
            device=f"cuda:{gpu_id or 0}" if kind == "cuda" else kind,
            dtype=_dtype(name, program_dtype, lower),
            autocast=lower and program_dtype == "float32",
            compiler=compiler,
            runtime=name,
        )
        for name in names
    ]


def _dtype(runtime: str, program: str, lower: bool) -> str:
    """Of the matmuls: torch computes in what a program stores, ONNX Runtime never in bfloat16."""
    if program == "int8":
        return "int8"
    if runtime == "torch":
        return "bfloat16" if lower or program == "bfloat16" else "float32"
    return "bfloat16" if lower and runtime == "openvino" else "float32"


def _runtimes(wanted: str, lower: bool, forms: Collection[str]) -> list[str]:
    """The wanted runtime, or those worth trying on this CPU that are installed and have a program."""
    if wanted != "auto":
        form, package = _NEEDS[wanted]
        if form not in forms:
            raise RuntimeError(f"the runtime {wanted} reads {form} programs, and the archive holds none")
        if importlib.util.find_spec(package) is None:
            raise RuntimeError(f"the runtime {wanted} was asked for, and the package {package} is missing")
        return [wanted]
    usable = [
        name
        for name, (form, package) in _NEEDS.items()
        if form in forms and importlib.util.find_spec(package) is not None
    ]
    # ONNX Runtime has no bfloat16 kernels for CPUs.
    best = ("openvino", "torch") if lower else ("onnxruntime",)
    if not usable:
        raise RuntimeError(f"no installed runtime reads the archive's programs: {', '.join(sorted(forms))}")
    return [name for name in best if name in usable] or usable[:1]


def _kind(device: str, gpu_id: int | None) -> str:
    wanted = os.environ.get("BABELCLIP_DEVICE", "auto") if device == "auto" else device
    if wanted == "auto":
        cards = os.environ.get("HABANA_VISIBLE_DEVICES", "")
        if cards not in ("", "void") and importlib.util.find_spec("habana_frameworks") is not None:
            return "hpu"
        return "cuda" if gpu_id is not None and _torch().cuda.is_available() else "cpu"
    if wanted == "cuda" and not _torch().cuda.is_available():
        raise RuntimeError("the device cuda was asked for, and torch finds no GPU")
    if wanted not in ("cpu", "cuda", "hpu"):
        raise RuntimeError(f"BABELCLIP_DEVICE must be auto, cpu, cuda or hpu, not {wanted!r}")
    return wanted


def _wanted_dtype(dtype: str) -> str:
    wanted = os.environ.get("BABELCLIP_DTYPE", "auto") if dtype == "auto" else dtype
    if wanted not in ("auto", "float32", "bfloat16"):
        raise RuntimeError(f"BABELCLIP_DTYPE must be auto, float32 or bfloat16, not {wanted!r}")
    return wanted


def _wanted_runtime(runtime: str) -> str:
    wanted = os.environ.get("BABELCLIP_RUNTIME", "auto") if runtime == "auto" else runtime
    if wanted not in ("auto", *RUNTIMES):
        raise RuntimeError(f"BABELCLIP_RUNTIME must be auto, {', '.join(RUNTIMES)}, not {wanted!r}")
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


def has_native_bfloat16(kind: str) -> bool:
    """Whether the hardware has native bfloat16, which emulation does not count as."""
    if kind == "hpu":
        return True
    if kind == "cuda":
        return bool(_torch().cuda.is_bf16_supported(including_emulation=False))
    reported = _linux_reports_bfloat16()
    if reported is not None:
        return reported
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(_torch().cpu, check, bool)()) for check in checks)


def _linux_reports_bfloat16() -> bool | None:
    """Whether the CPU's flags list it; None where there are no flags, and torch must be asked.

    torch would answer the same; a worker of another runtime saves 200 MB without it.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return "amx_bf16" in flags or "avx512_bf16" in flags


def _torch() -> Any:
    """torch, loaded only where the answer depends on it: a text tower on ONNX Runtime does without."""
    return importlib.import_module("torch")
