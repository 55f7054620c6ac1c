"""A text tower and the CLIP whose image tower it was trained to meet, each in the files it is published in.

A folder holds the two, or links to them:

    text/      M-CLIP's (`mclip`) or sentence-transformers' (`sentence_transformers`)
    vision/    a CLIP: open_clip's files, transformers', or sentence-transformers' around those

`joined` makes such a folder of two others.
"""

import atexit
import shutil
import tempfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from torch import nn

from models.checkpoint import Checkpoint
from models.dual_encoder import DualEncoder, Inputs, TextTower
from models.files import tokenizers
from models.files.weights import CheckpointError, archive_name, fingerprint
from models.loaders import mclip, sentence_transformers
from models.loaders.forms import library_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TEXT, VISION = "text", "vision"
FORMS = (mclip, sentence_transformers)
# The CLIP that each published text tower was trained with, where its files have safetensors.
CLIPS = {
    "M-CLIP/XLM-Roberta-Large-Vit-B-32": "timm/vit_base_patch32_clip_224.openai",
    "M-CLIP/XLM-Roberta-Large-Vit-L-14": "timm/vit_large_patch14_clip_224.openai",
    "M-CLIP/XLM-Roberta-Large-Vit-B-16Plus": "timm/vit_base_patch16_plus_clip_240.laion400m_e31",
    "M-CLIP/LABSE-Vit-L-14": "timm/vit_large_patch14_clip_224.openai",
    "sentence-transformers/clip-ViT-B-32-multilingual-v1": "sentence-transformers/clip-ViT-B-32",
}


def is_pair(folder: Path) -> bool:
    """Whether the folder is a pair, or the text tower of one, of which the other is to be named."""
    return any(form.takes(place) for form in FORMS for place in (folder / TEXT, folder))


def joined(text: Path, vision: Path) -> Path:
    """A folder, called as the text tower's, with links to both; it is gone when the program ends.

    Raises:
        CheckpointError: `text` holds no text tower that is published apart from its image tower, or
            `vision` is no folder.
    """
    own = text / TEXT if is_pair(text / TEXT) else text
    _form_of(own)
    if not vision.is_dir():
        raise CheckpointError(f"{vision} is no folder of a CLIP's files")
    scratch = Path(tempfile.mkdtemp(prefix="babelclip-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    folder = scratch / text.absolute().name
    folder.mkdir()
    (folder / TEXT).symlink_to(own.resolve())
    (folder / VISION).symlink_to(vision.resolve())
    return folder


def space_of(folder: Path) -> str:
    """The fingerprint of both models' files, and of what is done to texts before the tokenizer's own rules.

    Raises:
        CheckpointError: a file is missing.
    """
    text, clip = _places(folder)
    form = _form_of(text)
    rule = f"{tokenizers.text_rule(form.tokenizer_folder(text))} {library_of(clip).space_of(clip)}"
    return fingerprint(form.files_of(text), rule=rule)


def load(folder: Path) -> Checkpoint:
    """The model as export takes it, in float32 and eval mode; keys and shapes are checked strictly.

    The logit scale is the CLIP's.

    Raises:
        CheckpointError: names the file and what is missing, too much or not supported.
    """
    text, clip = _places(folder)
    form = _form_of(text)
    tower, inputs, tokenizer = form.load(text)
    other: Checkpoint = library_of(clip).load(clip)
    dim, due = _dimensions(tower), other.meta["dim"]
    if dim != due:
        raise CheckpointError(
            f"{folder}: texts have {dim} dimensions and images {due}; {clip} is not the CLIP that {text} was "
            "trained with"
        )
    model = other.model
    meta = {
        "name": archive_name(folder),
        "space": space_of(folder),
        "dim": due,
        "logit_scale": other.meta["logit_scale"],
        "languages": [],
        "source": f"{form.__name__.rpartition('.')[2]} and {other.meta['source']}",
    }
    towers = DualEncoder(tower, model.vision, Inputs(inputs, model.config.vision), model.logit_scale)
    return Checkpoint(text, towers.eval(), tokenizer, meta)


def _dimensions(tower: TextTower) -> int:
    """Of what a text tower gives: its dense layer, or its text model where it has none."""
    last, encoder = tower.projection, cast("PreTrainedModel", tower.encoder)
    return last.out_features if isinstance(last, nn.Linear) else int(encoder.config.hidden_size)


def _form_of(text: Path) -> ModuleType:
    found = next((form for form in FORMS if form.takes(text)), None)
    if found is None:
        raise CheckpointError(
            f"{text}: no text tower that is published apart from its image tower; M-CLIP's and "
            "sentence-transformers' are"
        )
    return found


def _places(folder: Path) -> tuple[Path, Path]:
    """The text tower's folder and the CLIP's."""
    if not any(form.takes(folder / TEXT) for form in FORMS):
        raise CheckpointError(
            f"{folder} holds a text tower alone: name the CLIP that it goes with, --vision CLIP"
        )
    if not (folder / VISION).is_dir():
        raise CheckpointError(f"{folder}: the folder {VISION}, of the CLIP that {TEXT} goes with, is missing")
    return folder / TEXT, sentence_transformers.clip_folder(folder / VISION)
