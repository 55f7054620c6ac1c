"""sentence-transformers' folders: a text model, its pooling and a dense layer; and CLIP in its form.

modules.json lists the parts, each with the folder of its files: Transformer (a text model of transformers,
with its tokenizer), Pooling, Dense, and perhaps Normalize. Such a text tower was trained to give the vectors
of a CLIP, which is published apart (`models.loaders.pairs`), as a folder of one part with transformers' own
files. The package itself is not needed.
"""

import json
from pathlib import Path
from typing import Any

from torch import nn
from transformers import BertModel, DistilBertModel, XLMRobertaModel

from models.dual_encoder import Pooling, TextInput, TextTower
from models.files import tokenizers
from models.files.weights import CheckpointError, load_strict, read_json, read_state, require
from models.loaders import huggingface

MODULES, CONFIG, SETTINGS = "modules.json", "config.json", "sentence_bert_config.json"
KINDS: dict[str, Any] = {"distilbert": DistilBertModel, "bert": BertModel, "xlm-roberta": XLMRobertaModel}
POOLINGS: dict[str, Pooling] = {"mean": "mean", "cls": "first"}
# Masked language modelling's output and BERT's pooler: parts of some files that no embedding needs.
UNUSED = ("vocab_", "lm_head.", "pooler.", "cls.")


class Dense(nn.Module):
    """The layer under its file's name."""

    def __init__(self, before: int, after: int, *, bias: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(before, after, bias=bias)


def is_sentence_transformers(folder: Path) -> bool:
    """Whether the folder lists parts as sentence-transformers does."""
    return (folder / MODULES).exists()


def parts(folder: Path) -> list[tuple[str, Path]]:
    """Each part's class, without its module, and its folder.

    Raises:
        CheckpointError: the list is missing or none.
    """
    path = require(folder / MODULES)
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return [(str(part["type"]).rpartition(".")[2], folder / str(part["path"])) for part in listed]
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} must list parts, each with a type and a path") from error


def clip_folder(folder: Path) -> Path:
    """Where a CLIP's own files lie: the folder itself, or its part that holds the model."""
    if not is_sentence_transformers(folder):
        return folder
    listed = parts(folder)
    if not listed:
        raise CheckpointError(f"{folder}/{MODULES} lists no part")
    return listed[0][1]


def takes(folder: Path) -> bool:
    """Whether the folder holds a text tower in this form."""
    return is_sentence_transformers(folder) and "Pooling" in dict(parts(folder))


def tokenizer_folder(folder: Path) -> Path:
    """Where the tokenizer's files lie.

    Raises:
        CheckpointError: the list of parts is none that is taken.
    """
    return _places(folder)[0]


def files_of(folder: Path) -> list[Path]:
    """All that decides what a vector means.

    Raises:
        CheckpointError: a file is missing.
    """
    text, pooling, dense = _places(folder)
    settings = text / SETTINGS
    files = [text / CONFIG, *([settings] if settings.exists() else []), *tokenizers.files_of(text)]
    files += [*huggingface.weights_of(text), pooling / CONFIG]
    return files if dense is None else [*files, dense / CONFIG, *huggingface.weights_of(dense)]


def load(folder: Path) -> tuple[TextTower, TextInput, Any]:
    """The tower in float32, what it takes, and its tokenizer; keys and shapes are checked strictly.

    Raises:
        CheckpointError: names the file and what is missing, too much or not supported.
    """
    text, pooling, dense = _places(folder)
    kind = read_json(text / CONFIG).get("model_type")
    if kind not in KINDS:
        raise CheckpointError(f"{text}/{CONFIG}: model_type {kind!r} is not taken; {', '.join(KINDS)} are")
    unpooled = {} if kind == "distilbert" else {"add_pooling_layer": False}
    encoder = huggingface.pretrained(KINDS[kind], text, unused=UNUSED, **unpooled)
    config = encoder.config
    pad_id, places = int(config.pad_token_id or 0), int(config.max_position_embeddings)
    if kind == "xlm-roberta":  # which counts places from after the padding's id
        places -= pad_id + 1
    words = tokenizers.read(text, int(config.vocab_size))
    projection = nn.Identity() if dense is None else _dense(dense, int(config.hidden_size))
    tower = TextTower(encoder, _pooling(pooling / CONFIG), projection)
    return tower, TextInput(min(places, _longest(text)), pad_id), words


def _places(folder: Path) -> tuple[Path, Path, Path | None]:
    """The folders of the text model, of the pooling, and of a dense layer if there is one."""
    listed = parts(folder)
    names = [name for name, _ in listed if name != "Normalize"]
    if names not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Dense"]):
        raise CheckpointError(
            f"{folder}/{MODULES}: the parts {', '.join(names)} are not taken; Transformer, Pooling and then "
            "Dense are"
        )
    found = dict(listed)
    return found["Transformer"], found["Pooling"], found.get("Dense")


def _pooling(path: Path) -> Pooling:
    told = read_json(path)
    modes = [name.removeprefix("pooling_mode_") for name, on in told.items() if on is True]
    modes = [
        name.removesuffix("_token").removesuffix("_tokens") for name in modes if name != "include_prompt"
    ]
    if isinstance(told.get("pooling_mode"), str):  # as newer versions write it
        modes = [told["pooling_mode"]]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise CheckpointError(
            f"{path}: the pooling {' and '.join(modes) or 'none'} is not taken; {', '.join(POOLINGS)} are"
        )
    return POOLINGS[modes[0]]


def _longest(text: Path) -> int:
    """How many tokens of a text count."""
    for name, key in ((SETTINGS, "max_seq_length"), (tokenizers.SETTINGS, "model_max_length")):
        told = read_json(text / name) if (text / name).exists() else {}
        if told.get("do_lower_case") is True and name == SETTINGS:
            raise CheckpointError(f"{text}/{name}: do_lower_case is not taken; a tokenizer lowercases itself")
        longest = told.get(key)
        if isinstance(longest, int | float) and 0 < longest < 1e9:
            return int(longest)
    raise CheckpointError(f"{text}: how long a text may be is not said ({SETTINGS}, max_seq_length)")


def _dense(folder: Path, width: int) -> nn.Module:
    told = read_json(folder / CONFIG)
    activation = str(told.get("activation_function", "")).rpartition(".")[2]
    if activation != "Identity":
        raise CheckpointError(f"{folder}/{CONFIG}: the activation {activation!r} is not taken; Identity is")
    before, after = told.get("in_features"), told.get("out_features")
    if before != width or type(after) is not int or after < 1:
        raise CheckpointError(
            f"{folder}/{CONFIG}: in_features {before!r} and out_features {after!r} are no layer of a text "
            f"model of {width}"
        )
    layer = Dense(width, after, bias=bool(told.get("bias", True)))
    [path, *_] = huggingface.weights_of(folder)
    load_strict(layer, read_state(path), path)
    return layer.linear
