"""Flags that `training.stages.distillation` and `training.stages.contrastive` share, and what they become."""

import argparse
import dataclasses
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from models.checkpoint import Checkpoint
from training import devices, distributed, loop
from training.arguments import positive
from training.devices import Device
from training.loop import RunError, Settings
from training.run_log import RunLogger

TOKEN_BUCKET = 8  # texts are padded to a multiple of it


def add(parser: argparse.ArgumentParser, *, batch: int, lr: float, decay: float) -> None:
    """The flags of every stage, with its own defaults."""
    flag = parser.add_argument_group("run").add_argument
    flag("--out", type=Path, required=True, help="folder of the run: log, states, trained model")
    flag("--epochs", type=positive, default=1, help="passes over the training data")
    flag("--batch", type=positive, default=batch, help="rows per device and batch")
    flag("--accumulate", type=positive, default=1, help="batches whose gradients make up a step")
    flag("--lr", type=float, default=lr, help="peak learning rate")
    flag("--warmup", type=int, default=500, help="steps in which the rate rises; at most a tenth of all")
    flag("--weight-decay", type=float, default=decay, help="of matrices; gains and biases have none")
    flag("--clip-norm", type=float, default=1.0, help="largest norm of all gradients together")
    flag("--held-out", type=float, default=0.05, help="share of the keys that is measured on, not trained on")
    flag("--seed", type=int, default=0, help="of the split, the order and what is drawn")
    flag("--device", choices=("auto", *devices.KINDS), default="auto", help="what the towers run on")
    flag("--save-every", type=positive, default=1000, help="steps between states, beside those of epochs")
    flag("--write-every", type=positive, default=1, help="epochs between models; the last is always written")
    flag("--keep", type=positive, default=2, help="states to keep, beside the best")
    flag("--resume", action="store_true", help="go on from the last state in --out; without one, begin")
    flag = parser.add_argument_group("log").add_argument
    flag("--tensorboard", action="store_true", help="event files in --out; needs the package tensorboard")
    flag("--wandb", metavar="PROJECT", help="also log to Weights & Biases; needs the package wandb")
    flag("--metrics-file", type=Path, help="a text file for Prometheus' node exporter")


def settings(options: argparse.Namespace) -> Settings:
    """What the loop is told.

    Raises:
        RunError: a number is out of range.
    """
    if not 0 <= options.held_out < 1:
        raise RunError(f"--held-out must be at least 0 and below 1, not {options.held_out}")
    if options.warmup < 0:
        raise RunError(f"--warmup must be at least 0, not {options.warmup}")
    for name in ("lr", "clip_norm"):
        if not getattr(options, name) > 0:
            raise RunError(f"--{name.replace('_', '-')} must be above 0, not {getattr(options, name)}")
    names = {field.name for field in dataclasses.fields(Settings)} - {"steps"}  # These end with an epoch.
    return Settings(**{name: getattr(options, name) for name in names})


def launch(
    options: argparse.Namespace, make: Callable[[argparse.Namespace, Device], loop.Stage[Any]]
) -> dict[str, float]:
    """Be one process of the run, as torchrun's environment says; returns the last figures.

    Raises:
        RunError: the device, a package or other processes are not there, a file cannot be written, or see
            `loop.run`.
    """
    told = settings(options)
    try:
        device = devices.choose(options.device)
    except (RuntimeError, ValueError) as error:
        raise RunError(f"--device {options.device}: {error}") from error
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    devices.share_cores(device, local)
    # The tokenizer's threads do not live through the fork of the processes that decode images.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        distributed.start(device)
    except ValueError as error:
        raise RunError(f"WORLD_SIZE is set, as torchrun does, and the rest is not: {error}") from error
    try:
        return _run(options, told, device, make)
    except OSError as error:  # The disk is full, or --out is another's.
        raise RunError(str(error)) from error
    finally:
        gc.collect()  # Replicated modules that outlive the group of processes can wait for it forever.
        distributed.stop()


def _run(
    options: argparse.Namespace,
    told: Settings,
    device: Device,
    make: Callable[[argparse.Namespace, Device], loop.Stage[Any]],
) -> dict[str, float]:
    torch.manual_seed(options.seed + distributed.rank())
    stage = make(options, device)
    try:
        logger = RunLogger(
            options.out,
            writes=distributed.rank() == 0,
            tensorboard=options.tensorboard,
            wandb=options.wandb,
            metrics_file=options.metrics_file,
            settings=vars(options),
        )
    except ModuleNotFoundError as error:
        raise RunError(f"the package {error.name} is not installed: pip install {error.name}") from error
    return loop.run(stage, told, device, logger)


def tokens_of(loaded: Checkpoint) -> Callable[[list[str]], tuple[Tensor, Tensor]]:
    """texts → ids and mask int64 [N, L] as the checkpoint's text tower takes them, cut to its limit."""
    limits = loaded.model.config.text
    # A copy: the checkpoint's own is written with the trained model, and does not pad.
    tokenizer = Tokenizer.from_str(loaded.tokenizer.to_str())
    tokenizer.enable_truncation(limits.max_tokens)
    tokenizer.no_padding()

    def tokens(texts: list[str]) -> tuple[Tensor, Tensor]:
        rows = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        longest = max(len(row) for row in rows)
        length = min(limits.max_tokens, -(-longest // TOKEN_BUCKET) * TOKEN_BUCKET)
        ids = torch.full((len(rows), length), limits.pad_id, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        return ids, mask

    return tokens
