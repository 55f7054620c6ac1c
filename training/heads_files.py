"""What a run of `training.heads` leaves in its folder, and how another goes on from there."""

import dataclasses
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from training import distributed, states
from training.datasets.examples import Examples
from training.devices import Device
from training.heads_inputs import Learned
from training.heads_options import TEXT_MODEL, VISION_MODEL, HeadsOptions, OptionsError

# What a run must keep when it is resumed: with another value it would go on as no uninterrupted run does.
FIXED = (
    "dataset_type",
    "dataset_subset_size",
    "dataset_train_split",
    "hyperparam_num_layers",
    "hyperparam_lr",
    "hyperparam_epochs",
    "hyperparam_batch_size",
    "hyperparam_precision",
    "seed",
    "world_size",
)


def settings(options: HeadsOptions) -> dict[str, Any]:
    """The values of FIXED, plain."""
    return {name: getattr(options, name) for name in FIXED}


def resumed(options: HeadsOptions, learned: Learned, optimizer: torch.optim.Optimizer, device: Device) -> int:
    """Epochs done: with --resume, put the last state back; 0 where there is none.

    Raises:
        OptionsError: a flag differs from the run's, or not every machine sees its states.
        CheckpointError: the state cannot be read.
    """
    found = states.latest(options.checkpoint_dir / "states") if options.resume else None
    everywhere = distributed.gather_objects(None if found is None else found.name)
    if len(set(everywhere)) > 1:
        raise OptionsError(f"--checkpoint-dir {options.checkpoint_dir} must be one that all machines share")
    if found is None:
        return 0
    position = states.load(found, learned, optimizer, device)
    for name, value in settings(options).items():
        before = position.sampler["settings"].get(name)
        if before != value:
            flag = "the number of devices" if name == "world_size" else f"--{name.replace('_', '-')}"
            raise OptionsError(f"{found} was written with {before} as {flag}, not {value}: a run keeps it")
    return int(position.sampler["epoch"])


def start_log(options: HeadsOptions, examples: Examples) -> Callable[[dict[str, Any]], None]:
    """Prepare the folder; returns what adds an entry to log.jsonl, and to Weights & Biases if asked for.

    Raises:
        OptionsError: something else has the name of a frozen model.
    """
    folder = options.checkpoint_dir
    folder.mkdir(parents=True, exist_ok=True)
    for name in (VISION_MODEL, TEXT_MODEL):
        _link(folder / name, options.models_dir / name)
    if examples.left_out.counts:
        print(examples.left_out, flush=True)
    board = None
    if options.wandb_enabled:
        import wandb  # An extra that few have.

        config = {name: str(value) for name, value in dataclasses.asdict(options).items()}
        board = wandb.init(project=options.wandb_project, config=config)

    def log(row: dict[str, Any]) -> None:
        with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if board is not None:
            board.log(row, step=row["step"])

    return log


def write_heads(options: HeadsOptions, learned: Learned, about: dict[str, Any]) -> None:
    """Both heads as bare state dicts, and heads.json about them."""
    folder, name = options.checkpoint_dir, options.dataset_type
    for tower, head in (("text", learned.text), ("vision", learned.vision)):
        state = {key: value.detach().cpu().clone() for key, value in head.state_dict().items()}
        _whole(folder / f"{tower}-{name}.ckpt", partial(torch.save, state))
    described = {"logit_scale": learned.scale().item(), "settings": settings(options), **about}
    text = json.dumps(described, indent=2) + "\n"
    _whole(folder / "heads.json", lambda path: path.write_text(text, encoding="utf-8"))


def _whole(path: Path, write: Callable[[Path], object]) -> None:
    """The file appears whole, or the one before it stays."""
    unfinished = path.with_name(f"{path.name}.partial")
    write(unfinished)
    os.replace(unfinished, path)


def _link(path: Path, target: Path) -> None:
    if path.exists() and path.samefile(target):
        return
    if os.path.lexists(path):
        raise OptionsError(f"{path} must become a link to {target}, and is something else; move it away")
    path.symlink_to(os.path.relpath(target.resolve(), path.parent.resolve()), target_is_directory=True)
