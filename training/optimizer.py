"""The optimiser of dual encoders: AdamW's parameter groups, its rate at each step, clipped gradients.

The rate is a function of the step alone, so a resumed run goes on exactly where it stopped. Defaults are
those of the public recipes (Radford et al. 2021, appendix F, for ViT; open_clip).
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training.devices import Device

BETAS = (0.9, 0.98)
EPSILON = 1e-6
WEIGHT_DECAY = 0.2


def parameter_groups(module: nn.Module, *, rate: float, decay: float = WEIGHT_DECAY) -> list[dict[str, Any]]:
    """The parameters that learn, in groups for an optimiser: those with weight decay, and those without.

    Exempt is what has fewer than two dimensions, which are the biases, the gains of normalisations and the
    logit scale, and what is named a bias. Decay draws to zero, and zero is nothing special for these.

    `rate` is the peak rate, which `set_rates` multiplies; towers of different rates are called one by one and
    their lists added. A list holds no empty group, which Gaudi's fused AdamW does not take.
    """
    learning = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    exempt = {name for name, p in learning if p.ndim < 2 or name.endswith("bias")}
    decayed = [p for name, p in learning if name not in exempt]
    others = [p for name, p in learning if name in exempt]
    groups = [(decayed, decay), (others, 0.0)]
    return [
        {"params": members, "peak": rate, "lr": rate, "weight_decay": weight}
        for members, weight in groups
        if members
    ]


def adamw(groups: list[dict[str, Any]], device: Device) -> torch.optim.Optimizer:
    """AdamW over `parameter_groups`, in the fastest form of the device."""
    return device.adamw(groups, betas=BETAS, eps=EPSILON)


def rate_factor(step: int, *, steps: int, warmup: int, floor: float = 0.0) -> float:
    """Factor of the peak rate at a step from 0: linear warm-up, then a cosine to `floor` (SGDR's, one cycle).

    The first step has 1/warmup, step `warmup` has 1, and from step `steps` on it is `floor`.

    Raises:
        ValueError: the warm-up does not end before the run does.
    """
    if not 0 <= warmup < steps:
        raise ValueError(f"a warm-up of {warmup} steps must end within the {steps} steps of the run")
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / (steps - warmup))
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Give every group its peak rate times the factor, before the step."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def clip_gradients(parameters: Iterable[Tensor], limit: float) -> Tensor:
    """Scale all gradients down together so that their norm is at most `limit`; returns the norm before.

    A scalar tensor, so that nothing waits for the device; it is worth a look where it is logged: once it is
    not finite, neither are the weights after the step.
    """
    return nn.utils.clip_grad_norm_(parameters, limit)
