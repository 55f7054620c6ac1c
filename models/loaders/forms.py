"""Which files of a repository are taken, where it holds a model in open_clip's and in transformers'."""

from pathlib import Path
from types import ModuleType

from models.loaders import huggingface, open_clip


def library_of(folder: Path) -> ModuleType:
    """The module that loads a folder of open_clip's or of transformers' files, or of both.

    Where one of the two lacks something, or is of a kind that is not taken, the other serves. Of two that are
    complete it is open_clip's, unless the text tower is its own, which is CLIP's in both.
    """
    if not open_clip.is_openclip(folder):
        return huggingface
    if not huggingface.is_complete(folder):
        return open_clip
    preferred = open_clip.is_complete(folder) and not open_clip.has_own_text(open_clip.read_config(folder)[1])
    return open_clip if preferred else huggingface
