"""What `python -m export` takes, and where training may start: models from their own files.

A folder of this project's checkpoints; a Hugging Face model; an open_clip model, or a file of its weights;
projection heads beside the models they were trained on; any of them by its name on the hub.
"""

import json
import os
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from models import checkpoint
from models.checkpoint import Checkpoint, CheckpointError
from models.loaders import hub, huggingface, open_clip, projection_heads
from models.modules import DualEncoder


def locate(source: str) -> Path:
    """A path as it is; `hf-hub:ORGANISATION/NAME[@REVISION]` fetched.

    Raises:
        CheckpointError: nothing is there, or the hub does not give it.
    """
    path = hub.fetch(source) if source.startswith(hub.PREFIX) else Path(source)
    if not path.exists():
        hint = (
            f"; on the hub it would be {hub.PREFIX}{source}"
            if re.fullmatch(r"[\w.-]+/[\w.-]+", source)
            else ""
        )
        raise CheckpointError(f"{source}: no such file or folder{hint}")
    return path


def form_of(source: Path, architecture: str | None = None) -> ModuleType:
    """The module that loads the source.

    Public repositories often hold a model twice, in open_clip's files and in transformers'. Where one of the
    two lacks something, or is of a kind that is not taken, the other serves.
    """
    if source.is_file() or architecture is not None:
        return open_clip
    if open_clip.is_openclip(source):
        other = huggingface.is_complete(source) and not open_clip.is_complete(source)
        return huggingface if other else open_clip
    if huggingface.is_huggingface(source):
        return huggingface
    return projection_heads if projection_heads.is_projection_heads(source) else checkpoint


def load(source: Path, architecture: str | None = None) -> Checkpoint:
    """Both towers, the tokenizer and what is known of them.

    Args:
        source: a folder, or a file of open_clip's weights.
        architecture: open_clip's name for what is in the file, where no config lies beside it.

    Raises:
        CheckpointError: names the file and what is wrong with it.
    """
    form = form_of(source, architecture)
    found: Checkpoint = open_clip.load(source, architecture) if form is open_clip else form.load(source)
    return found


def logit_bias(loaded: Checkpoint) -> float | None:
    """What the model's own training added to scale × cosine (SigLIP's does); None where nothing was."""
    bias = getattr(loaded.public_model, "logit_bias", None)
    return None if bias is None else float(bias.detach())


def save(
    loaded: Checkpoint,
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
        words = Tokenizer.from_file(str(loaded.path / "tokenizer.json"))  # as it was published
        checkpoint.save(folder, loaded.model, words, languages=loaded.meta["languages"], training=training)
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
    form = huggingface if isinstance(loaded.public_model, PreTrainedModel) else open_clip
    form.save(loaded, partial, scale)
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    (partial / "training.json").write_text(text, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def space_of(source: Path, architecture: str | None = None) -> str:
    """The fingerprint of what `load` would give, without loading it.

    Raises:
        CheckpointError: the source is none that `load` takes.
    """
    form = form_of(source, architecture)
    if form is checkpoint:
        return str(checkpoint.read_meta(source)["space"])
    return str(open_clip.space_of(source, architecture) if form is open_clip else form.space_of(source))
