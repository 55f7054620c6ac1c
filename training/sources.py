"""What `python -m export` takes, and where training may start: models from their own files.

A folder of this project's checkpoints; a Hugging Face model; an open_clip model, or a file of its weights;
projection heads beside the models they were trained on; any of them by its name on the hub.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from training import checkpoint, hub, huggingface, openclip, projection_heads
from training.checkpoint import CheckpointError
from training.models import DualEncoder


def locate(source: str) -> Path:
    """A path as it is; `hf-hub:ORGANISATION/NAME[@REVISION]` fetched.

    Raises:
        CheckpointError: nothing is there, or the hub does not give it.
    """
    path = hub.fetch(source) if source.startswith(hub.PREFIX) else Path(source)
    if not path.exists():
        raise CheckpointError(f"{source}: no such file or folder")
    return path


def load(source: Path, architecture: str | None = None) -> checkpoint.Checkpoint:
    """Both towers, the tokenizer and what is known of them.

    Args:
        source: a folder, or a file of open_clip's weights.
        architecture: open_clip's name for what is in the file, where no config lies beside it.

    Raises:
        CheckpointError: names the file and what is wrong with it.
    """
    if openclip.is_one(source) or architecture is not None:
        return openclip.load(source, architecture)
    if huggingface.is_one(source):
        return huggingface.load(source)
    if projection_heads.is_one(source):
        return projection_heads.load(source)
    return checkpoint.load(source)


def logit_bias(loaded: checkpoint.Checkpoint) -> float | None:
    """What the model's own training added to scale × cosine (SigLIP's does); None where nothing was."""
    bias = getattr(loaded.public_model, "logit_bias", None)
    return None if bias is None else float(bias.detach())


def save(
    loaded: checkpoint.Checkpoint,
    folder: Path,
    *,
    scale: float,
    bias: float | None = None,
    about: dict[str, Any],
) -> None:
    """Write a trained model in the form that it was loaded from, in place of what was at `folder`.

    Whole or not at all. `scale` is its logit scale; `bias`, its logit bias, is kept by models that have one;
    `about`, how it was trained, becomes training.json.

    Raises:
        CheckpointError: models of this form cannot be written.
    """
    if isinstance(loaded.model, DualEncoder):
        with torch.no_grad():
            loaded.model.log_scale.fill_(scale).log_()
        earlier = loaded.meta.get("training", {})
        training = {**about, "from": loaded.meta["space"], "before": earlier}
        checkpoint.save(
            folder, loaded.model, loaded.tokenizer, languages=loaded.meta["languages"], training=training
        )
        return
    if loaded.public_model is None:
        raise CheckpointError(
            f"{loaded.path}: projection heads are trained by `python -m training`, their towers not at all"
        )
    if bias is not None and logit_bias(loaded) is not None:
        with torch.no_grad():
            loaded.public_model.logit_bias.fill_(bias)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    kind = openclip if openclip.is_one(loaded.path) else huggingface
    kind.save(loaded, partial, scale)
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    (partial / "training.json").write_text(text, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def space_of(source: Path, architecture: str | None = None) -> str:
    """The fingerprint of what `load` would give, without loading it.

    Raises:
        CheckpointError: the source is none that `load` takes.
    """
    if openclip.is_one(source) or architecture is not None:
        return openclip.space_of(source, architecture)
    if huggingface.is_one(source):
        return huggingface.space_of(source)
    if projection_heads.is_one(source):
        return projection_heads.space_of(source)
    return str(checkpoint.read_meta(source)["space"])
