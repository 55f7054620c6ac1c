"""What `python -m export` takes, and where training may start: models from their own files.

A folder of this project's checkpoints; a Hugging Face model; an open_clip model, or a file of its weights;
projection heads beside the models they were trained on; a text tower and the CLIP it goes with; any of them
by its name on the hub.
"""

import re
from pathlib import Path
from types import ModuleType
from typing import Any

from models import checkpoint
from models.checkpoint import Checkpoint
from models.files.weights import CheckpointError
from models.loaders import hub, huggingface, open_clip, pairs, projection_heads
from models.loaders.forms import library_of


def locate(source: str, vision: str | None = None) -> Path:
    """A path as it is; `hf-hub:ORGANISATION/NAME[@REVISION]` fetched.

    With `vision`, a path or a name too, `source` is a text tower, and both are joined.

    Raises:
        CheckpointError: nothing is there, or the hub does not give it.
    """
    if vision is not None:
        return pairs.joined(_found(source, alone=True), _found(vision))
    return _found(source)


def _found(source: str, *, alone: bool = False) -> Path:
    path = hub.fetch(source, alone=alone) if source.startswith(hub.PREFIX) else Path(source)
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

    Public repositories often hold a model twice: see `models.loaders.forms`.
    """
    if source.is_file() or architecture is not None:
        return open_clip
    if pairs.is_pair(source):
        return pairs
    if open_clip.is_openclip(source) or huggingface.is_huggingface(source):
        return library_of(source)
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
    `about`, how it was trained, becomes training.json, or a part of a checkpoint's meta.json.

    Raises:
        CheckpointError: models of this form cannot be written.
    """
    if loaded.write is None:
        raise CheckpointError(
            f"{loaded.path}: a model of this form is not written; projection heads are trained by "
            "`python -m training`"
        )
    loaded.model.set_scale(scale, bias)
    loaded.write(loaded, folder, about)


def space_of(source: Path, architecture: str | None = None) -> str:
    """The fingerprint of what `load` would give, without loading it.

    Raises:
        CheckpointError: the source is none that `load` takes.
    """
    form = form_of(source, architecture)
    if form is checkpoint:
        return str(checkpoint.read_meta(source)["space"])
    return str(open_clip.space_of(source, architecture) if form is open_clip else form.space_of(source))
