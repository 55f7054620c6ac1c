"""open_clip's models with its own text tower, and SigLIP in its form, with random weights.

Each is saved as open_clip pushes a model to the hub, and read again by open_clip itself from that folder: its
model, tokenizer and image transform give the vectors that are due.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.push_to_hf_hub import save_for_hf
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import GemmaTokenizer, PreTrainedTokenizerFast

from benchmarks.support.vocabularies import ROBERTA_MARKERS, SMALL_VOCABULARY, gemma, tokenizer
from tests.systems import families
from tests.systems.families import MEAN, STD, TEXTS, Reference, pictures, randomise, small_once

OPENAI: dict[str, Any] = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
SIGLIP: dict[str, Any] = {
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "interpolation": "bicubic",
    "resize_mode": "squash",
}
PE_CORE: dict[str, Any] = SIGLIP | {"interpolation": "bilinear"}
MOBILE_CLIP: dict[str, Any] = {
    "mean": (0.0, 0.0, 0.0),
    "std": (1.0, 1.0, 1.0),
    "interpolation": "bilinear",
    "resize_mode": "shortest",
}
SMALL_TEXT: dict[str, Any] = {
    "context_length": 77,
    "vocab_size": 49_408,
    "width": 32,
    "heads": 2,
    "layers": 1,
}
# timm's own models for tests have 160 pixels a side, and take a fraction of a second.
SMALL_SIGLIP: dict[str, Any] = {
    "embed_dim": 64,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 160,
        "timm_model_name": "test_vit",
        "timm_pool": "map",
        "timm_proj": "none",
    },
    "text_cfg": {
        **SMALL_TEXT,
        "context_length": 64,
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 64,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "norm_kwargs": {"eps": 1e-6},
    },
}


class OwnTokenizer:
    """Where open_clip takes its own tokenizer, nothing of one is saved."""

    def save_pretrained(self, folder: Path) -> None:
        """Nothing."""


@small_once
def vit_b_32(folder: Path, *, true: bool) -> Reference:
    """LAION's ViT-B/32, whose text tower is CLIP's: causal, of any length."""
    small = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
        "text_cfg": SMALL_TEXT,
    }
    return saved(folder, "ViT-B-32" if true else small, OPENAI, OwnTokenizer())


@small_once
def mobile_clip_2(folder: Path, *, true: bool) -> Reference:
    """MobileCLIP 2 S0: a convolutional tower of timm's, and texts that see all of their padding."""
    small = {
        "embed_dim": 16,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_convnext",
            "timm_pool": "avg",
            "timm_proj": None,
        },
        "text_cfg": {**SMALL_TEXT, "no_causal_mask": True},
    }
    return saved(folder, "MobileCLIP2-S0" if true else small, MOBILE_CLIP, OwnTokenizer())


@small_once
def pe_core(folder: Path, *, true: bool) -> Reference:
    """The Perception Encoder, whose image tower has rotary positions and pools by attention."""
    small = {
        "embed_dim": 16,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 384,
            "timm_model_name": "vit_pe_core_tiny_patch16_384",
            "timm_pool": "map",
            "timm_proj": None,
        },
        "text_cfg": {**SMALL_TEXT, "context_length": 32},
    }
    return saved(folder, "PE-Core-B-16" if true else small, PE_CORE, OwnTokenizer())


@small_once
def siglip_2(folder: Path, *, true: bool) -> Reference:
    """SigLIP 2 base: Gemma's tokenizer, which fills texts up with 0."""
    vocabulary = 256_000 if true else 8_000
    pieces, merges = gemma(vocabulary)
    words = GemmaTokenizer(
        vocab=pieces,
        merges=merges,  # type: ignore[arg-type]  # pairs are taken as well as the lines that are declared
        add_bos_token=False,
        add_eos_token=True,
        padding_side="right",
    )
    config = _siglip("ViT-B-16-SigLIP2" if true else None, vocabulary)
    config["text_cfg"]["act_kwargs"] = {"approximate": "tanh"}
    return saved(folder, config, SIGLIP, words)


@small_once
def siglip_i18n(folder: Path, *, true: bool) -> Reference:
    """The first SigLIP in a hundred languages: a sentencepiece tokenizer, which pads with the end token."""
    vocabulary = 250_000 if true else SMALL_VOCABULARY
    pieces = tokenizer(vocabulary, *ROBERTA_MARKERS)
    words = PreTrainedTokenizerFast(
        tokenizer_object=siglip_ending(pieces), eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    )
    return saved(folder, _siglip("ViT-B-16-SigLIP-i18n-256" if true else None, vocabulary), SIGLIP, words)


FAMILIES: dict[str, Callable[..., Reference]] = {
    "open-clip": vit_b_32,
    "mobileclip2": mobile_clip_2,
    "pe-core": pe_core,
    "open-clip-siglip2": siglip_2,
    "open-clip-siglip": siglip_i18n,
}


def siglip_ending(pieces: Tokenizer) -> Tokenizer:
    """A tokenizer whose texts begin with nothing and end with </s>, as T5's."""
    end = pieces.token_to_id("</s>")
    pieces.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end)])
    return pieces


def _siglip(name: str | None, vocabulary: int) -> dict[str, Any]:
    config = open_clip.get_model_config(name) if name else {**SMALL_SIGLIP}
    text = {**config["text_cfg"], "vocab_size": vocabulary, "hf_tokenizer_name": "timm/SigLIP"}
    return {**config, "text_cfg": text}


@torch.inference_mode()
def saved(folder: Path, config: str | dict[str, Any], images: dict[str, Any], words: Any) -> Reference:
    """Write the model of a config, or of open_clip's name for one, and have open_clip read it again."""
    folder.mkdir(parents=True)
    described = open_clip.get_model_config(config) if isinstance(config, str) else config
    kind = open_clip.CustomTextCLIP if described.get("custom_text") else open_clip.CLIP
    model = randomise(kind(**{key: value for key, value in described.items() if key != "custom_text"}))
    open_clip.model.set_model_preprocess_cfg(model, images)
    save_for_hf(model, words, described, str(folder), safe_serialization=True)
    del model
    read, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    cut = open_clip.get_tokenizer(f"local-dir:{folder}")
    read.eval()

    def embed_texts() -> Tensor:
        return torch.cat([read.encode_text(cut(TEXTS[at : at + 6])) for at in range(0, len(TEXTS), 6)])

    def embed_images() -> Tensor:
        rows: Tensor = read.encode_image(
            torch.stack([transform(Image.open(io.BytesIO(data))) for data in pictures()])
        )
        return rows

    return families._reference(embed_texts, embed_images)
