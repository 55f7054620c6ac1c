"""What a run of `training.stages.heads.stage` leaves in its folder, beside its states."""

import json
import os
from pathlib import Path
from typing import Any

import torch

from models import outputs
from training.stages.heads.inputs import Learned
from training.stages.heads.options import HeadsOptions, OptionsError

# What a run must keep when it is resumed: with another value it would go on as no uninterrupted run does.
FIXED = (
    "dataset_type",
    "dataset_subset_size",
    "dataset_train_split",
    "model_visual_name",
    "model_textual_name",
    "hyperparam_num_layers",
    "hyperparam_lr",
    "hyperparam_epochs",
    "hyperparam_batch_size",
    "hyperparam_precision",
    "seed",
    "world_size",
)


def settings(options: HeadsOptions) -> dict[str, Any]:
    """The values of FIXED, plain, by their flags."""
    return {
        "devices" if name == "world_size" else f"--{name.replace('_', '-')}": getattr(options, name)
        for name in FIXED
    }


def link_models(options: HeadsOptions) -> None:
    """Prepare the folder, so that it is a whole model once it holds heads.

    Raises:
        OptionsError: something else has the name of a frozen model.
    """
    options.checkpoint_dir.mkdir(parents=True, exist_ok=True)
    for name in (options.model_visual_name, options.model_textual_name):
        if not (options.models_dir / name).is_dir():
            continue  # An installed package has it, wherever the heads are read.
        _link(options.checkpoint_dir / name, options.models_dir / name)


def write_heads(options: HeadsOptions, learned: Learned, about: dict[str, Any]) -> None:
    """Both heads as bare state dicts, and heads.json about them."""
    folder, name = options.checkpoint_dir, options.dataset_type
    for tower, head in (("text", learned.text), ("vision", learned.vision)):
        state = {key: value.detach().cpu().clone() for key, value in head.state_dict().items()}
        with outputs.replacing(folder / f"{tower}-{name}.ckpt") as partial, partial.open("wb") as file:
            torch.save(state, file)
    described = {
        "logit_scale": learned.scale().item(),
        "vision_model": options.model_visual_name,
        "text_model": options.model_textual_name,
        **about,
    }
    text = json.dumps(described, indent=2) + "\n"
    with outputs.replacing(folder / "heads.json") as partial:
        partial.write_text(text, encoding="utf-8")


def _link(path: Path, target: Path) -> None:
    if path.exists() and path.samefile(target):
        return
    if os.path.lexists(path):
        raise OptionsError(f"{path} must become a link to {target}, and is something else; move it away")
    path.symlink_to(os.path.relpath(target.resolve(), path.parent.resolve()), target_is_directory=True)
