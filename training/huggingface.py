"""Dual encoders in Hugging Face folders, as this project's export takes them.

CLIPModel; AltCLIPModel, the 18-language variant included; VisionTextDualEncoderModel, which training a
projection between a vision and a text model leaves. The towers are transformers' own modules. A folder holds
config.json, weights as safetensors or as a pickle of tensors alone, preprocessor_config.json and
tokenizer.json. Nothing is fetched, and nothing but tensors is unpickled.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AltCLIPModel, CLIPModel, VisionTextDualEncoderModel

from training.checkpoint import Checkpoint, CheckpointError

KINDS = {
    "clip": CLIPModel,
    "altclip": AltCLIPModel,
    "vision-text-dual-encoder": VisionTextDualEncoderModel,
}
WEIGHTS = ("*.safetensors", "*.bin")
# Of AltCLIP by its paper; its text model has places for more.
ALTCLIP_TOKENS = 77
BICUBIC = 3  # Pillow's number


@dataclass(frozen=True)
class TextInput:
    max_tokens: int
    pad_id: int


@dataclass(frozen=True)
class VisionInput:
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Inputs:
    """What export asks of a model's config."""

    text: TextInput
    vision: VisionInput


class TextTower(nn.Module):
    """The text model, its pooled state, projected."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.projection = model.text_model, model.text_projection

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask int64 [N, L] → float32 [N, dim], unit rows."""
        pooled = self.model(input_ids=ids, attention_mask=mask).pooler_output  # [N, width]
        return F.normalize(self.projection(pooled).float(), dim=-1)


class VisionTower(nn.Module):
    """The vision model, its pooled state, projected; normalisation of the pixels is inside."""

    def __init__(self, model: nn.Module, config: VisionInput) -> None:
        super().__init__()
        self.model, self.projection = model.vision_model, model.visual_projection
        self.register_buffer("mean", 255 * torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(config.std).view(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels uint8 [N, size, size, 3] → float32 [N, dim], unit rows."""
        x = pixels.permute(0, 3, 1, 2).to(self.projection.weight.dtype)  # [N, 3, size, size]
        x = (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)
        pooled = self.model(pixel_values=x).pooler_output  # [N, width]
        return F.normalize(self.projection(pooled).float(), dim=-1)


class Towers(nn.Module):
    """Both towers of a Hugging Face model."""

    def __init__(self, model: nn.Module, config: Inputs) -> None:
        super().__init__()
        self.config = config
        self.text, self.vision = TextTower(model), VisionTower(model, config.vision)


def is_one(folder: Path) -> bool:
    """Whether the folder looks like a Hugging Face model, rather than like one of our checkpoints."""
    return (folder / "config.json").exists() and not (folder / "meta.json").exists()


def space_of(folder: Path) -> str:
    """16 hex digits of SHA-256 over config, preprocessing, tokenizer and weights, each by its name.

    Raises:
        CheckpointError: a file is missing.
    """
    digest = hashlib.sha256()
    for path in [_file(folder, name) for name in _SETTINGS] + _weights(folder):
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def load(folder: Path) -> Checkpoint:
    """The model as export takes it, in float32 and eval mode; keys and shapes are checked strictly.

    Raises:
        CheckpointError: names the file and what is missing, too much or not supported.
    """
    config = _json(folder, "config.json")
    kind = config.get("model_type")
    if kind not in KINDS:
        raise CheckpointError(
            f"{folder}/config.json: model_type {kind!r} is not known; known: {', '.join(KINDS)}"
        )
    space = space_of(folder)
    model = _model(folder, KINDS[kind])
    inputs = Inputs(_text_input(folder, kind, model.config.text_config), _vision_input(folder, model))
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises plain Exception
        raise CheckpointError(f"{folder}/tokenizer.json: {error}") from error
    vocabulary = model.config.text_config.vocab_size
    if tokenizer.get_vocab_size() > vocabulary:
        raise CheckpointError(
            f"{folder}/tokenizer.json has {tokenizer.get_vocab_size()} tokens and the text model {vocabulary}"
        )
    meta = {
        "name": _name(folder),
        "space": space,
        "dim": int(model.config.projection_dim),
        "logit_scale": round(float(model.logit_scale.detach().exp()), 4),
        "languages": [],
    }
    return Checkpoint(folder, Towers(model, inputs).eval(), tokenizer, meta)


_SETTINGS = ("config.json", "preprocessor_config.json", "tokenizer.json")


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise CheckpointError(f"{folder}: {name} is missing")
    return folder / name


def _json(folder: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads(_file(folder, name).read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{folder}/{name} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{folder}/{name} must hold names and values")
    return found


def _weights(folder: Path) -> list[Path]:
    for pattern in WEIGHTS:
        if found := sorted(folder.glob(pattern)):
            return found
    raise CheckpointError(f"{folder}: no weights, neither model.safetensors nor pytorch_model.bin")


def _model(folder: Path, kind: type[nn.Module]) -> nn.Module:
    safe = _weights(folder)[0].suffix == ".safetensors"
    try:
        model, report = kind.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=safe,
            weights_only=True,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are reported with all others
        )
    except Exception as error:  # transformers and safetensors raise many kinds
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{folder}: its weights cannot be read: {reason}") from error
    wrong = [f"missing {key}" for key in sorted(report["missing_keys"])]
    wrong += [f"unexpected {key}" for key in sorted(report["unexpected_keys"])]
    wrong += [
        f"{key} has the shape {list(found)} where {list(due)} is due"
        for key, found, due in sorted(report["mismatched_keys"], key=str)
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise CheckpointError(
            f"{folder}: its weights are not those of config.json: {'; '.join(wrong[:3])}{more}"
        )
    return model


def _text_input(folder: Path, kind: str, text: Any) -> TextInput:
    pad_id = int(text.pad_token_id if text.pad_token_id is not None else 0)
    places = int(text.max_position_embeddings)
    if kind != "clip":
        places -= pad_id + 1  # RoBERTa and XLM-R count from there
    told = ALTCLIP_TOKENS if kind == "altclip" else places
    if (folder / "tokenizer_config.json").exists():
        longest = _json(folder, "tokenizer_config.json").get("model_max_length")
        if isinstance(longest, int | float) and longest > 0:
            told = int(min(told, longest))
    return TextInput(max_tokens=min(told, places), pad_id=pad_id)


def _vision_input(folder: Path, model: nn.Module) -> VisionInput:
    """preprocessor_config.json, which must ask for what handlers.preprocess does."""
    name = "preprocessor_config.json"
    raw = _json(folder, name)
    size, crop = raw.get("size"), raw.get("crop_size")
    short = size.get("shortest_edge") if isinstance(size, dict) else size
    side = crop.get("height") if isinstance(crop, dict) else crop
    due = int(model.config.vision_config.image_size)
    if short != due or (side is not None and side != due):
        raise CheckpointError(
            f"{folder}/{name}: images must be resized to a shortest side of {due} and cropped to {due}, "
            f"as the vision model takes them; it asks for size {size} and crop_size {crop}"
        )
    if raw.get("resample", BICUBIC) != BICUBIC:
        raise CheckpointError(f"{folder}/{name}: resample {raw['resample']} is not served; 3 (bicubic) is")
    mean, std = (_three(folder / name, raw.get(key)) for key in ("image_mean", "image_std"))
    if min(std) <= 0:
        raise CheckpointError(f"{folder}/{name}: image_std must be above 0")
    return VisionInput(size=due, mean=mean, std=std)


def _three(path: Path, values: Any) -> tuple[float, ...]:
    if not isinstance(values, list) or len(values) != 3 or not all(type(v) in (int, float) for v in values):
        raise CheckpointError(f"{path}: image_mean and image_std must be three numbers each")
    return tuple(float(value) for value in values)


def _name(folder: Path) -> str:
    """The folder's name as a name for archives."""
    return re.sub(r"[^a-z0-9.-]+", "-", folder.resolve().name.lower()).strip("-.") or "model"
