"""Resumable states of a run: `FOLDER/step-000000120.pt`, all that it takes to go on as if never stopped.

A state holds the weights, the optimiser, the random generators of every process, the position of the sampler
and the score of the step. It is written under another name, flushed to the disk, read again and renamed: when
a process or the machine stops, every file of that name is whole. Only tensors and plain values are unpickled.

For serving there is `models.checkpoint`; a state is three times as large and serves its own run only.
"""

import math
import random
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models import outputs
from models.files import pickles
from models.files.weights import CheckpointError
from training import distributed
from training.devices import Device

FORMAT = 1


@dataclass(frozen=True)
class Position:
    """How far a run has come."""

    step: int
    """Steps done."""
    sampler: dict[str, Any]
    """What the sampler needs to go on: plain values and tensors, such as {"epoch": 2, "row": 4096}."""
    score: float | None = None
    """What `best` compares, larger is better, such as recall@1; None where nothing was measured."""


def save(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: Device,
    position: Position,
    *,
    keep: int = 3,
) -> None:
    """Write the state after a step; of the older ones the last `keep` and the best stay, this one counted.

    Every process calls it, process 0 writes. The folder must be one that all of them can read.

    Raises:
        ValueError: `keep` is below 1.
        CheckpointError: the position holds more than plain values and tensors, and could not be loaded.
        OSError: the disk is full or not writable; what was there before is untouched.
    """
    if keep < 1:
        raise ValueError("at least one state must be kept")
    rng = distributed.gather_objects(rng_state(device))
    if distributed.rank() != 0:
        return
    state = {
        "format": FORMAT,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "noise": rng,  # as it was named first; states of earlier runs have it too
        "step": position.step,
        "sampler": position.sampler,
        "score": None if position.score is None else float(position.score),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"*{outputs.PARTIAL}"):  # of a process that was stopped while writing
        left.unlink()
    _write(folder / f"step-{position.step:09d}.pt", _on_cpu(state))
    kept = {*_states(folder)[-keep:], best(folder)}
    for path in _states(folder):
        if path not in kept:
            path.unlink()


def latest(folder: Path) -> Path | None:
    """The whole state of the most steps, or None where there is none yet."""
    states = _states(folder)
    return states[-1] if states else None


def best(folder: Path) -> Path | None:
    """The state of the highest score, of equal ones the latest, or None where none has a score.

    Raises:
        CheckpointError: a state cannot be read.
    """
    scored = [(_read(path, mmap=True)["score"], path) for path in _states(folder)]
    ranked = [(score, path) for score, path in scored if score is not None and not math.isnan(score)]
    return max(ranked)[1] if ranked else None


def load(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, device: Device) -> Position:
    """Put a state back into the model, the optimiser and the random generators, in every process.

    The peak rates and weight decays of the optimiser's groups come from the state as well. Where the number
    of processes has changed, the generators stay as they are, with a warning.

    Raises:
        CheckpointError: the file cannot be read, or is of another model or optimiser.
    """
    state = _read(path)
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} is of another model or optimiser: {error}") from error
    rng = state["noise"]
    if len(rng) == distributed.world_size():
        set_rng_state(rng[distributed.rank()], device)
    else:
        now = distributed.world_size()
        warnings.warn(f"{path} is of {len(rng)} processes, not {now}: new random numbers", stacklevel=2)
    return Position(state["step"], state["sampler"], state["score"])


def read_weights(path: Path) -> tuple[dict[str, Tensor], Position]:
    """The weights of a state alone, for a stage that begins where another one ended.

    Raises:
        CheckpointError: the file cannot be read.
    """
    state = _read(path)
    return state["model"], Position(state["step"], state["sampler"], state["score"])


def _states(folder: Path) -> list[Path]:
    """In order of their steps; a run of a billion steps has longer names."""
    return sorted(folder.glob("step-*.pt"), key=lambda path: (len(path.name), path.name))


def _write(path: Path, state: dict[str, Any]) -> None:
    # On the disk, its new name too, before an older state goes.
    with outputs.replacing(path, durable=True) as partial:
        # By a file of Python's, which says of a full disk that it is full; torch's own writer does not.
        with partial.open("wb") as file:
            torch.save(state, file)
        _read(partial, mmap=True)


def _read(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """`mmap` leaves tensors on the disk, for a look at the rest."""
    try:
        state = pickles.load(path, mmap=mmap)
    except pickles.PickleError as error:
        raise CheckpointError(f"{path} is no state of a run: {error}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a state of format {FORMAT}")
    return state


def _on_cpu(value: Any) -> Any:
    """The same with all tensors on the CPU, so that a state can be read without the device that wrote it."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_on_cpu(one) for one in value]
    return value


def rng_state(device: Device) -> dict[str, Any]:
    """This process's random generators: torch's, Python's and numpy's."""
    legacy: Any = np.random.get_state(legacy=False)
    key = torch.from_numpy(legacy["state"]["key"].astype(np.int64))  # Plain torch.load knows no arrays.
    return {
        "torch": device.rng_state(),
        "python": random.getstate(),
        "numpy": {**legacy, "state": {**legacy["state"], "key": key}},
    }


def set_rng_state(rng: dict[str, Any], device: Device) -> None:
    device.set_rng_state(rng["torch"])
    random.setstate(rng["python"])
    legacy = rng["numpy"]
    key = legacy["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state({**legacy, "state": {**legacy["state"], "key": key}})
