"""The loop of every stage: steps, held-out measures, states to resume from.

A run's folder holds log.jsonl, resumable states in states/, and the trained model as the stage writes it. A
run that was stopped, by kill -9 too, goes on with --resume from its last state exactly as if it had not been.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from training import distributed, states
from training import optimizer as optimisation
from training.devices import Device
from training.run_log import RunLogger

LOG_EVERY = 20  # steps
B = TypeVar("B")


class RunError(Exception):
    """The run cannot begin or go on; a sentence that says why."""


@dataclass(frozen=True)
class Settings:
    """How long and how fast a stage learns, and what it leaves."""

    out: Path
    epochs: int
    steps: int | None = None
    """Where the run ends within its epochs; None: with the last of them."""
    accumulate: int = 1
    """Batches whose gradients make up a step."""
    lr: float = 1e-4
    """Peak rate of AdamW."""
    warmup: int = 500
    """Steps in which the rate rises; at most a tenth of all."""
    weight_decay: float = optimisation.WEIGHT_DECAY
    clip_norm: float = 1.0
    save_every: int = 1000
    """Steps between states; one is also written with each model."""
    write_every: int = 1
    """Epochs between models; one is also written after the last."""
    keep: int = 2
    """States to keep, beside the best."""
    resume: bool = False


class Stage(ABC, Generic[B]):
    """What differs from stage to stage: the data, the loss, the measures, the model that is written."""

    learned: nn.Module
    """All that learns, in training mode while it does; its state dict is the run's state."""
    in_epoch: int
    """Batches of an epoch, the same in every process."""
    rows: int
    """Rows of a batch, over all processes, for the rate that is shown."""
    fixed: dict[str, Any]
    """What a resumed run must not change, by the names that a user knows it by: plain values."""

    @abstractmethod
    def batches(self, epoch: int, first: int) -> Iterator[B]:
        """This process's batches of one epoch from number `first` on."""

    @abstractmethod
    def loss(self, batch: B) -> Tensor:
        """The mean over this process's rows, a scalar."""

    @abstractmethod
    def measure(self) -> dict[str, float]:
        """Figures of held-out data, the same in every process.

        Of their `score`, the larger is the better: the state of the best one is kept.
        """

    @abstractmethod
    def write(self, about: dict[str, Any]) -> None:
        """The trained model into the run's folder, whole or not at all; process 0 calls it."""

    def after_step(self) -> None:
        """Called after each step of the optimiser."""

    def parameter_groups(self, settings: Settings) -> list[dict[str, Any]]:
        """What the optimiser is given, each group with its peak rate; see `optimizer.parameter_groups`."""
        return optimisation.parameter_groups(self.learned, rate=settings.lr, decay=settings.weight_decay)

    def rate_factor(self, step: int, *, steps: int, warmup: int) -> float:
        """Factor of the peak rates at a step from 0."""
        return optimisation.rate_factor(step, steps=steps, warmup=warmup)

    def sampler_state(self) -> dict[str, Any]:
        """What `batches` depends on besides the epoch and the batch's number: plain values and tensors."""
        return {}

    def set_sampler_state(self, state: dict[str, Any]) -> None:
        """Put back what `sampler_state` gave, in a run that is resumed."""


def run(stage: Stage[Any], settings: Settings, device: Device, logger: RunLogger) -> dict[str, float]:
    """Train to the last epoch; returns the last figures. Every process calls it.

    Raises:
        RunError: the folder holds another run, or the loss is no longer a number.
        CheckpointError: a state to resume from cannot be read.
    """
    learned = stage.learned
    optimizer = optimisation.adamw(stage.parameter_groups(settings), device)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    folder = settings.out / "states"
    step = _resume(stage, settings, optimizer, device, folder)
    per_epoch = stage.in_epoch // settings.accumulate
    if per_epoch < 1:
        raise RunError(
            f"an epoch has {stage.in_epoch} batches, which is less than --accumulate {settings.accumulate}"
        )
    steps = settings.epochs * per_epoch if settings.steps is None else settings.steps
    warmup = min(settings.warmup, steps // 10)
    started, first_step, figures = time.monotonic(), step, dict[str, float]()
    total = torch.zeros((), device=device.torch_device)
    since = step

    def save(score: float | None) -> None:
        sampler = {**stage.sampler_state(), "fixed": stage.fixed}
        at = states.Position(step, sampler, score)
        states.save(folder, learned, optimizer, device, at, keep=settings.keep)

    while step < steps:
        learned.train()
        epoch, first = divmod(step, per_epoch)
        for number, batch in enumerate(stage.batches(epoch, first * settings.accumulate), start=1):
            loss = stage.loss(batch) / settings.accumulate
            loss.backward()
            device.mark_step()
            total += loss.detach()
            if number % settings.accumulate:
                continue
            optimisation.set_rates(optimizer, stage.rate_factor(step, steps=steps, warmup=warmup))
            norm = optimisation.clip_gradients(parameters, settings.clip_norm)
            optimizer.step()
            stage.after_step()
            optimizer.zero_grad()
            device.mark_step()
            step += 1
            ends = step % per_epoch == 0 or step == steps
            if step % LOG_EVERY == 0 or ends:
                mean = distributed.mean({"loss": total.item() / (step - since), "norm": norm.item()}, device)
                if not math.isfinite(mean["loss"]):
                    raise RunError(f"the loss is {mean['loss']} at step {step}: try a lower learning rate")
                total.zero_()
                since = step
                pace = (time.monotonic() - started) / (step - first_step)
                rate = stage.rows * settings.accumulate / pace
                lr = optimizer.param_groups[0]["lr"]
                logger.log({"epoch": epoch + 1, "step": step, **mean, "lr": lr, "rows_per_s": rate})
                logger.info(
                    f"epoch {epoch + 1}/{settings.epochs}  step {step}/{steps}  loss {mean['loss']:.4f}  "
                    f"{rate:.1f} rows/s  {pace * (steps - step) / 60:.1f} min left"
                )
            if ends:
                break  # Batches that do not fill a step are left out.
            if step % settings.save_every == 0:
                save(None)
        learned.eval()
        with torch.no_grad():
            figures = stage.measure()
        logger.log({"epoch": epoch + 1, "step": step, **figures})
        logger.info("  ".join(f"{name} {value:.4f}" for name, value in figures.items()))
        if (epoch + 1) % settings.write_every == 0 or step == steps:
            # The model first: a run that is stopped in between does the rest of the epoch again, and this.
            if distributed.rank() == 0:
                stage.write({**stage.fixed, "epochs_done": epoch + 1, "step": step, **figures})
            save(figures.get("score"))
    return figures


def _resume(
    stage: Stage[Any],
    settings: Settings,
    optimizer: torch.optim.Optimizer,
    device: Device,
    folder: Path,
) -> int:
    """The step to go on from; 0 for a new run."""
    found = states.latest(folder)
    if len(set(distributed.gather_objects(None if found is None else found.name))) > 1:
        raise RunError(f"{settings.out} must be a folder that all machines share")
    if found is None:
        return 0
    if not settings.resume:
        raise RunError(
            f"{settings.out} already holds a run: --resume goes on with it, another folder begins a new one"
        )
    position = states.load(found, stage.learned, optimizer, device)
    before = position.sampler["fixed"]
    for name, value in stage.fixed.items():
        if before.get(name) != value:
            raise RunError(f"{found} is of a run with {name} {before.get(name)}, not {value}: a run keeps it")
    stage.set_sampler_state(position.sampler)
    return position.step
