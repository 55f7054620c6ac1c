"""What `python -m export` takes: a folder of this project's checkpoints, or one in Hugging Face's form."""

from pathlib import Path

from training import checkpoint, huggingface


def load(folder: Path) -> checkpoint.Checkpoint:
    """Both towers, the tokenizer and what is known of them.

    Raises:
        CheckpointError: names the file and what is wrong with it.
    """
    return huggingface.load(folder) if huggingface.is_one(folder) else checkpoint.load(folder)


def space_of(folder: Path) -> str:
    """The fingerprint of what `load` would give, without loading it.

    Raises:
        CheckpointError: the folder is none that `load` takes.
    """
    if huggingface.is_one(folder):
        return huggingface.space_of(folder)
    return str(checkpoint.read_meta(folder)["space"])
