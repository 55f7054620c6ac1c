"""Training in several processes, one for each device: a thin layer on torch.distributed.

    torchrun --nproc-per-node 8 -m training.… --device hpu

    distributed.start(device)
    model = distributed.replicated(module)
    ...
    distributed.stop()

Every function may be called in a single process that no torchrun started; there it needs no process group and
gives back what it was given. Gradients of replicated modules are means over the processes, so a loss that is
the mean of this process's rows has the gradient of the mean over all rows, if every process has equally many.
"""

import os
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.parallel import DistributedDataParallel

from training.devices import Device


def start(device: Device) -> None:
    """Join the processes that torchrun started, as its environment describes them; alone, do nothing.

    Raises:
        ValueError: WORLD_SIZE says that there are others, and RANK, MASTER_ADDR or MASTER_PORT is missing.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        dist.init_process_group(device.backend())


def stop() -> None:
    """Leave the other processes, at the end of the run."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number among all, from 0; process 0 prints and writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather(rows: Tensor) -> Tensor:
    """[n, …] of each process → [world_size · n, …], in order of rank, differentiable.

    n must be the same in every process. The gradient of a row is the sum of its gradients in every process's
    loss; since replicated modules average over processes, they learn from the mean of all losses.
    """
    if world_size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]  # ours, by torch's untyped apply
    return gathered


class _Gather(torch.autograd.Function):
    """Written out, because the form in torch.distributed.nn is deprecated, and what replaces it is missing
    in the versions of torch that Gaudi's software carries."""

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        # Not reduce_scatter, which not every backend has: embeddings are small beside the weights.
        dist.all_reduce(total)
        return total.chunk(world_size())[rank()]


def gather_objects(value: Any) -> list[Any]:
    """One value of each process → all of them in every process, in order of rank."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def mean(metrics: Mapping[str, float], device: Device) -> dict[str, float]:
    """The mean of each metric over all processes, which must name the same ones."""
    if world_size() == 1:
        return dict(metrics)
    names = sorted(metrics)
    total = torch.tensor([float(metrics[name]) for name in names], device=device.torch_device)
    dist.all_reduce(total)
    return dict(zip(names, (total / world_size()).tolist(), strict=True))


def replicated(module: nn.Module, *, bucket_mb: int = 25) -> nn.Module:
    """The module as the training loop calls it: its gradients become the mean over all processes.

    Weights and buffers start as process 0 has them; where there are statistics of BatchNorm, all buffers are
    brought to its values in each step. `bucket_mb`: megabytes of gradients that travel together. Keep what
    comes back for as long as there are backward passes: gradients are averaged only while it lives. Keep the
    module itself for its state dict: the wrapped one's keys begin with `module.`. A module that learns
    nothing comes back as it is; of one that learns, every parameter that is not frozen must take part in each
    step.
    """
    if world_size() == 1 or not any(parameter.requires_grad for parameter in module.parameters()):
        return module
    replica = DistributedDataParallel(module, bucket_cap_mb=bucket_mb)
    # torch 2.9 writes to the buffers in each step, positions too, which a backward pass may still need. Set
    # afterwards, because the argument of this name would leave them different from the start.
    replica.broadcast_buffers = any("running_mean" in name for name, _ in module.named_buffers())
    return replica
