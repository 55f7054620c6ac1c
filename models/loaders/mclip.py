"""M-CLIP's text towers: XLM-R, or LaBSE, whose mean a linear layer takes into the space of a CLIP.

A folder holds config.json (`modelBase`, the text model by its name; `numDims`, the space's dimensions), the
weights, by the names of the multilingual-clip package, and a tokenizer. Its image tower is published apart,
with that CLIP (`models.loaders.pairs`). The text model's shape is known here, or config.json of it lies in a
folder of its name beside the weights.
"""

from pathlib import Path
from typing import Any

from torch import nn
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

from models.dual_encoder import TextInput, TextTower
from models.files import tokenizers
from models.files.weights import CheckpointError, first_line, load_strict, read_json, read_state
from models.loaders import huggingface, open_clip

CONFIG = "config.json"
KINDS: dict[str, tuple[Any, Any]] = {
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel),
    "bert": (BertConfig, BertModel),
}
# Of the published text models, by the last part of their name: the kind, and what is not its default.
BASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: ("xlm-roberta", shape) for name, shape in open_clip.TEXT_MODELS.items()},
    "LaBSE": ("bert", {"vocab_size": 501_153}),
}
# What the files have and no embedding needs: BERT's pooler, and buffers that older versions stored.
UNUSED = (r"transformer\.pooler\.", r"transformer\.embeddings\.(position_ids|token_type_ids)")


class MultilingualCLIP(nn.Module):
    """The parts of an M-CLIP text tower under its files' names."""

    def __init__(self, transformer: nn.Module, width: int, dim: int) -> None:
        super().__init__()
        self.transformer = transformer
        self.LinearTransformation = nn.Linear(width, dim)


def takes(folder: Path) -> bool:
    """Whether the folder holds a text tower of M-CLIP."""
    try:
        return (folder / CONFIG).is_file() and "modelBase" in read_json(folder / CONFIG)
    except CheckpointError:
        return False


def tokenizer_folder(folder: Path) -> Path:
    """Where the tokenizer's files lie."""
    return folder


def files_of(folder: Path) -> list[Path]:
    """All that decides what a vector means.

    Raises:
        CheckpointError: a file is missing.
    """
    beside = _beside(folder)
    base = [beside] if beside.exists() else []
    return [folder / CONFIG, *base, *tokenizers.files_of(folder), *huggingface.weights_of(folder)]


def load(folder: Path) -> tuple[TextTower, TextInput, Any]:
    """The tower in float32, what it takes, and its tokenizer; keys and shapes are checked strictly.

    Raises:
        CheckpointError: names the file and what is missing, too much or not supported.
    """
    dim = read_json(folder / CONFIG).get("numDims")
    if type(dim) is not int or dim < 1:
        raise CheckpointError(f"{folder}/{CONFIG}: numDims must be the dimensions of a vector, not {dim!r}")
    kind, shape = _base(folder)
    config_class, model_class = KINDS[kind]
    try:
        config = config_class(**shape)
        encoder = model_class(config, add_pooling_layer=False)
    except Exception as error:  # A wrong config fails in whichever module reads it.
        raise CheckpointError(
            f"{_beside(folder)}: no text model can be built: {first_line(error)}"
        ) from error
    model = MultilingualCLIP(encoder, int(config.hidden_size), dim)
    paths = huggingface.weights_of(folder)
    state = {key: value for path in paths for key, value in read_state(path).items()}
    load_strict(model, state, paths[0], allowed=UNUSED)
    pad_id, places = int(config.pad_token_id), int(config.max_position_embeddings)
    if kind == "xlm-roberta":  # which counts places from after the padding's id
        places -= pad_id + 1
    words = tokenizers.read(folder, int(config.vocab_size))
    return TextTower(encoder, "mean", model.LinearTransformation), TextInput(places, pad_id), words


def _beside(folder: Path) -> Path:
    """Where the text model's own config would lie."""
    return folder / Path(str(read_json(folder / CONFIG).get("modelBase"))).name / CONFIG


def _base(folder: Path) -> tuple[str, dict[str, Any]]:
    """The text model's kind and shape."""
    beside = _beside(folder)
    if beside.exists():
        shape = read_json(beside)
        kind = str(shape.get("model_type"))
        if kind not in KINDS:
            raise CheckpointError(f"{beside}: model_type {kind!r} is not taken; {', '.join(KINDS)} are")
        return kind, shape
    name = beside.parent.name
    if name not in BASES:
        raise CheckpointError(
            f"{folder}/{CONFIG}: the text model {name!r} (modelBase) is not known here; put its config.json "
            f"into {beside.parent}"
        )
    return BASES[name]
