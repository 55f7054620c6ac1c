"""Where training runs: Gaudi (HPU), CUDA or the CPU. The only module of training that tells them apart.

    device = devices.choose("auto")
    module.to(device.torch_device)
    with device.autocast():
        image, text = ...
    loss.backward()
    device.mark_step()
    optimizer.step()
    device.mark_step()

Matmuls run in bfloat16 where the hardware has it natively (HPU, CUDA from Ampere on, CPUs with AMX or
AVX512-BF16) and in float32 elsewhere, because emulated bfloat16 is far slower. bfloat16 has float32's range
of exponents, so gradients do not vanish in it and nothing scales the loss.

HPU: eager mode with `torch.compile(backend="hpu_backend")` by default, lazy mode with PT_HPU_LAZY_MODE=1. Set
it in the environment of the command, because torch may load Gaudi's software on import. No Gaudi card was
available to this project: the order of imports and calls is tested with a stand-in for Gaudi's software; its
kernels, numerics and speed are not.
"""

import importlib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from handlers.runtime.machine import usable_cores

BACKENDS = {"cpu": "gloo", "cuda": "nccl", "hpu": "hccl"}
"""Kind of device → torch.distributed's library for it."""
KINDS = tuple(BACKENDS)


@dataclass(frozen=True)
class Device:
    """A device and how to train on it; `choose` makes one."""

    kind: str
    """cpu, cuda or hpu."""
    torch_device: torch.device
    bfloat16: bool
    """Whether the hardware has native bfloat16."""
    lazy: bool = False
    """Whether Gaudi's lazy mode collects operations until `mark_step`."""

    def autocast(self) -> torch.autocast:
        """The context of the forward pass: bfloat16 where the hardware has it natively, else no change."""
        return torch.autocast(self.kind, dtype=torch.bfloat16, enabled=self.bfloat16)

    def mark_step(self) -> None:
        """To be called after the backward pass and after the optimiser's step: lazy mode runs up to here."""
        if self.lazy:
            importlib.import_module("habana_frameworks.torch.core").mark_step()

    def compile(self, module: nn.Module) -> None:
        """Compile in place where training needs it for its speed, which is HPU in eager mode.

        Every new shape is a compilation: batches must be of one size, and texts of few lengths.
        """
        if self.kind == "hpu" and not self.lazy:
            module.compile(backend="hpu_backend", dynamic=False)

    def adamw(
        self, groups: list[dict[str, Any]], *, betas: tuple[float, float], eps: float
    ) -> torch.optim.Optimizer:
        """AdamW (Loshchilov & Hutter 2019) in the fastest form of the device; each group has its own rate."""
        if self.kind == "hpu":
            try:
                optimizers = importlib.import_module("habana_frameworks.torch.hpex.optimizers")
            except ImportError:  # The package with Gaudi's own kernels is a part that may be left out.
                return torch.optim.AdamW(groups, betas=betas, eps=eps)
            fused: torch.optim.Optimizer = optimizers.FusedAdamW(groups, betas=betas, eps=eps)
            return fused
        return torch.optim.AdamW(groups, betas=betas, eps=eps, fused=True)

    def backend(self) -> str:
        """The name for init_process_group, ready to be used: Gaudi's registers itself on import."""
        if self.kind == "hpu":
            importlib.import_module("habana_frameworks.torch.distributed.hccl")
        return BACKENDS[self.kind]

    def rng_state(self) -> dict[str, Tensor]:
        """The states of torch's generators, as bytes: the CPU's and the device's own."""
        states = {"cpu": torch.get_rng_state()}
        if self.kind == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.torch_device)
        if self.kind == "hpu":
            states["hpu"] = _hpu_random().get_rng_state().cpu()
        return states

    def set_rng_state(self, states: Mapping[str, Tensor]) -> None:
        """Put back what `rng_state` gave; a device that it does not speak of stays as it is."""
        torch.set_rng_state(states["cpu"])
        if self.kind == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], self.torch_device)
        if self.kind == "hpu" and "hpu" in states:
            _hpu_random().set_rng_state(states["hpu"])


def choose(name: str = "auto") -> Device:
    """The device of this process: "cpu", "cuda", "hpu", or "auto" for the best that is there.

    "auto" takes HPU where Gaudi's software is installed and the container was given a card
    (HABANA_VISIBLE_DEVICES), else CUDA, else the CPU. Of several GPUs, torchrun's LOCAL_RANK tells which.

    Raises:
        ValueError: the name is none of the four.
        RuntimeError: what was asked for is not there. It is never replaced by another device in silence.
    """
    if name not in ("auto", *KINDS):
        raise ValueError(f"the device must be auto, cpu, cuda or hpu, not {name!r}")
    kind = _best() if name == "auto" else name
    if kind == "hpu":
        return Device("hpu", torch.device("hpu"), bfloat16=True, lazy=_start_hpu())
    if kind == "cuda":
        return _cuda(int(os.environ.get("LOCAL_RANK", "0")))
    return Device("cpu", torch.device("cpu"), bfloat16=_cpu_has_bfloat16())


def share_cores(device: Device, processes: int) -> None:
    """Set torch's threads, where `processes` of this machine compute on its CPU.

    Else each would take all cores, and they would wait for one another. A single one only leaves what a
    container keeps from it, which torch does not look at.
    """
    if device.kind != "cpu":
        return
    cores = usable_cores()
    torch.set_num_threads(
        max(1, cores // processes) if processes > 1 else min(cores, torch.get_num_threads())
    )


def _best() -> str:
    cards = os.environ.get("HABANA_VISIBLE_DEVICES", "")
    if cards not in ("", "void") and importlib.util.find_spec("habana_frameworks") is not None:
        return "hpu"
    return "cuda" if torch.cuda.is_available() else "cpu"


def _cuda(index: int) -> Device:
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= found:
        raise RuntimeError(f"the device cuda:{index} was asked for, and torch finds {found} GPUs")
    torch.cuda.set_device(index)  # Collectives of objects take the current device.
    emulated = not torch.cuda.is_bf16_supported(including_emulation=False)
    return Device("cuda", torch.device("cuda", index), bfloat16=not emulated)


def _cpu_has_bfloat16() -> bool:
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, check, bool)()) for check in checks)


def _start_hpu() -> bool:
    """Import Gaudi's software in its order: mode, core, then the question whether there is a card.

    Returns whether it is in lazy mode.
    """
    os.environ.setdefault("PT_HPU_LAZY_MODE", "0")
    try:
        importlib.import_module("habana_frameworks.torch.core")
        hpu = importlib.import_module("habana_frameworks.torch.hpu")
    except ImportError as error:
        raise RuntimeError("the device hpu was asked for, and Gaudi's software is not installed") from error
    if not hpu.is_available():
        raise RuntimeError("the device hpu was asked for, and no Gaudi card is free")
    return os.environ["PT_HPU_LAZY_MODE"] == "1"


def _hpu_random() -> Any:
    return importlib.import_module("habana_frameworks.torch.hpu.random")
