"""What `python -m export` takes, and where training may start: models from their own files.

A folder of this project's checkpoints; a Hugging Face model; an open_clip model, or a file of its weights;
projection heads beside the models they were trained on; any of them by its name on the hub.
"""

from pathlib import Path

from training import checkpoint, hub, huggingface, openclip, projection_heads
from training.checkpoint import CheckpointError


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
