"""Families of very many languages, with random weights: like those of `tests.systems.families`."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import M2M100Config, NllbTokenizer

from benchmarks.support import metaclip2
from benchmarks.support.vocabularies import nllb
from models.loaders.nllb import text_config
from tests.systems.families import TEXTS, Reference, pictures, randomise, small_once

ROWS = 6  # texts that the reference embeds at a time
NLLB_600M = "nllb-200-distilled-600M"
SMALL_NLLB: dict[str, Any] = {
    "vocab_size": 8_300,
    "d_model": 32,
    "encoder_layers": 1,
    "encoder_ffn_dim": 64,
    "encoder_attention_heads": 2,
    "decoder_layers": 0,
}
SMALL_VISION = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16}
SIGLIP = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}


@small_once
@torch.inference_mode()
def metaclip_2(folder: Path, *, true: bool) -> Reference:
    """MetaClip2Model: the smallest worldwide size, ViT-S/16 with XLM-V's vocabulary."""
    made = metaclip2.make(true=true)
    randomise(made.model).requires_grad_(False)
    made.save(folder)
    pixels = torch.from_numpy(np.stack(made.processor(opened())["pixel_values"]))
    asked: dict[str, Any] = {
        "padding": "max_length",
        "max_length": metaclip2.TOKENS,
        "truncation": True,
        "return_tensors": "pt",
    }

    def embed(texts: list[str]) -> Tensor:
        found: Tensor = made.model.get_text_features(**made.words(texts, **asked)).pooler_output
        return found

    return Reference(unit(by_rows(embed)), unit(made.model.get_image_features(pixels).pooler_output))


def opened() -> list[Image.Image]:
    """The pictures, as libraries take them."""
    return [Image.open(io.BytesIO(data)) for data in pictures()]


def by_rows(embed: Callable[[list[str]], Tensor]) -> Tensor:
    """All TEXTS, a few at a time."""
    return torch.cat([embed(TEXTS[start : start + ROWS]) for start in range(0, len(TEXTS), ROWS)])


def unit(rows: Tensor) -> np.ndarray:
    """Rows of length 1."""
    found: np.ndarray = F.normalize(rows.float(), dim=-1).numpy()
    return found


@small_once
def nllb_clip(folder: Path, *, true: bool) -> Reference:
    """open_clip's nllb-clip-base: ViT-B/32 with the encoder of NLLB-200 distilled 600M."""
    return _nllb_clip(folder, "nllb-clip-base", {}, true=true)


@small_once
def nllb_clip_siglip(folder: Path, *, true: bool) -> Reference:
    """open_clip's nllb-clip-base-siglip: the same with timm's SigLIP ViT-B/16 of 384 pixels."""
    return _nllb_clip(folder, "nllb-clip-base-siglip", SIGLIP, true=true)


@torch.inference_mode()
def _nllb_clip(folder: Path, name: str, preprocessing: dict[str, Any], *, true: bool) -> Reference:
    """As open_clip pushes it to the hub, with the tokenizer's own settings beside the model."""
    folder.mkdir(parents=True)
    config = open_clip.get_model_config(name)
    language_model = text_config(NLLB_600M) if true else M2M100Config(**SMALL_NLLB)
    local = folder.parent / f"{folder.name}.text"
    if not true:
        config |= {"embed_dim": 16, "vision_cfg": SMALL_VISION}
        config["text_cfg"] |= {"hf_model_name": "text"}
        local = folder / "text"
    language_model.save_pretrained(local)
    told = {"hf_model_name": str(local), "hf_model_pretrained": False}
    wanted = ("embed_dim", "vision_cfg", "init_logit_bias")
    model = open_clip.CustomTextCLIP(
        **{key: config[key] for key in wanted if key in config}, text_cfg={**config["text_cfg"], **told}
    )
    randomise(model).requires_grad_(False)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    described = {"model_cfg": config, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    pieces, merges = nllb(256_001 if true else 8_001)
    tokens = NllbTokenizer(vocab=pieces, merges=merges)  # type: ignore[arg-type]  # pairs are taken as well
    tokens.save_pretrained(folder)
    words = open_clip.tokenizer.HFTokenizer(str(folder), context_length=77)
    transform = open_clip.image_transform(
        config["vision_cfg"]["image_size"],
        is_train=False,
        mean=preprocessing.get("mean"),
        std=preprocessing.get("std"),
        resize_mode=preprocessing.get("resize_mode"),
        interpolation=preprocessing.get("interpolation"),
    )
    pixels = torch.stack([transform(image) for image in opened()])
    return Reference(
        unit(by_rows(lambda texts: model.encode_text(words(texts)))), unit(model.encode_image(pixels))
    )


FAMILIES: dict[str, Callable[..., Reference]] = {
    "metaclip-2": metaclip_2,
    "nllb-clip": nllb_clip,
    "nllb-clip-siglip": nllb_clip_siglip,
}
