"""Dual encoders in Hugging Face folders, as this project's export takes them.

CLIPModel; AltCLIPModel, the 18-language variant included; VisionTextDualEncoderModel, which training a
projection between a vision and a text model leaves; SiglipModel (`training.siglip`). The towers are
transformers' own modules. A folder holds config.json, weights as safetensors or as a pickle of tensors alone,
preprocessor_config.json and tokenizer.json. Nothing is fetched, and nothing but tensors is unpickled.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AltCLIPModel, CLIPModel, SiglipModel, VisionTextDualEncoderModel

from training import siglip
from training.checkpoint import Checkpoint, CheckpointError
from training.source_files import (
    BICUBIC,
    archive_name,
    complain,
    fingerprint,
    first_line,
    read_json,
    read_tokenizer,
    three,
)
from training.towers import Inputs, TextInput, TextTower, Towers, VisionInput, VisionTower

KINDS = {
    "clip": CLIPModel,
    "altclip": AltCLIPModel,
    "vision-text-dual-encoder": VisionTextDualEncoderModel,
    "siglip": SiglipModel,
}
SETTINGS = ("config.json", "preprocessor_config.json", "tokenizer.json")
WEIGHTS = ("*.safetensors", "*.bin")
# Of AltCLIP by its paper; its text model has places for more.
ALTCLIP_TOKENS = 77


def is_one(folder: Path) -> bool:
    """Whether the folder looks like a Hugging Face model, rather than like one of our checkpoints."""
    return (folder / "config.json").exists() and not (folder / "meta.json").exists()


def space_of(folder: Path) -> str:
    """The fingerprint of config, preprocessing, tokenizer and weights.

    Raises:
        CheckpointError: a file is missing.
    """
    return fingerprint([*(folder / name for name in SETTINGS), *weights_of(folder)])


def load(folder: Path) -> Checkpoint:
    """The model as export takes it, in float32 and eval mode; keys and shapes are checked strictly.

    Raises:
        CheckpointError: names the file and what is missing, too much or not supported.
    """
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind not in KINDS:
        raise CheckpointError(
            f"{folder}/config.json: model_type {kind!r} is not known; known: {', '.join(KINDS)}"
        )
    space = space_of(folder)
    model = pretrained(KINDS[kind], folder)
    if kind == "siglip":
        towers, tokenizer = siglip.parts(folder, model)
        dim = int(model.config.vision_config.hidden_size)
    else:
        inputs = Inputs(_text_input(folder, kind, model.config.text_config), _vision_input(folder, model))
        tokenizer = read_tokenizer(folder / "tokenizer.json", model.config.text_config.vocab_size)
        text = TextTower(model.text_model, "model", model.text_projection)
        vision = VisionTower(model.vision_model, model.visual_projection, inputs.vision)
        towers, dim = Towers(text, vision, inputs), int(model.config.projection_dim)
    meta = {
        "name": archive_name(folder),
        "space": space,
        "dim": dim,
        "logit_scale": round(float(model.logit_scale.detach().exp()), 4),
        "languages": [],
        "source": KINDS[kind].__name__,
    }
    return Checkpoint(folder, towers.eval(), tokenizer, meta, model)


def save(loaded: Checkpoint, folder: Path, scale: float) -> None:
    """Write the model, as it is now, into an empty folder that `load` takes."""
    model = loaded.public_model
    with torch.no_grad():
        model.logit_scale.fill_(scale).log_()
    model.save_pretrained(folder)
    for name in (*SETTINGS[1:], "tokenizer_config.json"):
        if (loaded.path / name).exists():
            shutil.copyfile(loaded.path / name, folder / name)


def weights_of(folder: Path) -> list[Path]:
    """The files of a model's weights, in one form.

    Raises:
        CheckpointError: there are none.
    """
    for pattern in WEIGHTS:
        if found := sorted(folder.glob(pattern)):
            return found
    raise CheckpointError(f"{folder}: no weights, neither model.safetensors nor pytorch_model.bin")


def pretrained(
    kind: type[nn.Module], folder: Path, *, unused: tuple[str, ...] = (), **options: Any
) -> nn.Module:
    """A model of one of transformers' classes, in float32, with exactly its own weights.

    Weights whose names begin with one of `unused` may be there besides; `options` go to the class.

    Raises:
        CheckpointError: the weights cannot be read, or are not those of config.json.
    """
    safe = weights_of(folder)[0].suffix == ".safetensors"
    try:
        model, report = kind.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=safe,
            weights_only=True,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are reported with all others
            **options,
        )
    except Exception as error:  # transformers and safetensors raise many kinds
        raise CheckpointError(f"{folder}: its weights cannot be read: {first_line(error)}") from error
    surplus = [key for key in report["unexpected_keys"] if not key.startswith(unused)]
    complain(folder, report["missing_keys"], surplus, report["mismatched_keys"])
    return model


def _text_input(folder: Path, kind: str, text: Any) -> TextInput:
    pad_id = int(text.pad_token_id if text.pad_token_id is not None else 0)
    places = int(text.max_position_embeddings)
    if kind != "clip":
        places -= pad_id + 1  # RoBERTa and XLM-R count from there
    told = ALTCLIP_TOKENS if kind == "altclip" else places
    if (folder / "tokenizer_config.json").exists():
        longest = read_json(folder / "tokenizer_config.json").get("model_max_length")
        if isinstance(longest, int | float) and longest > 0:
            told = int(min(told, longest))
    return TextInput(max_tokens=min(told, places), pad_id=pad_id)


def _vision_input(folder: Path, model: nn.Module) -> VisionInput:
    """preprocessor_config.json, which must ask for what handlers.preprocess does."""
    name = "preprocessor_config.json"
    raw = read_json(folder / name)
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
    mean, std = (three(folder / name, key, raw.get(key)) for key in ("image_mean", "image_std"))
    if min(std) <= 0:
        raise CheckpointError(f"{folder}/{name}: image_std must be above 0")
    return VisionInput(size=due, mean=mean, std=std)
