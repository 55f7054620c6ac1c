"""The public systems with random weights: built by their reference libraries, saved in their own files.

Each function writes a model into a folder and returns what the library itself makes of TEXTS and of images.
`true` builds the published architecture, else a small one of the same kind.
"""

import functools
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    AltCLIPConfig,
    AltCLIPModel,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPVisionConfig,
    RobertaConfig,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from benchmarks.support import towers
from benchmarks.support.vocabularies import (
    CLIP_MARKERS,
    ROBERTA_MARKERS,
    SMALL_VOCABULARY,
    gemma,
    gemma_tokenizer,
    tokenizer,
)
from export import golden
from handlers.preprocess.reference import decode_image
from models import checkpoint
from models.modules import BabelCLIP, ModelConfig, TextConfig, VisionConfig

TEXTS = list(golden.texts().values())
MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
SMALL_VISION: dict[str, Any] = {**SMALL, "image_size": 32, "patch_size": 8, "projection_dim": 16}
XLM_R_BASE: dict[str, Any] = {"vocab_size": 250_002, "max_position_embeddings": 514, "type_vocab_size": 1}
XLM_R_BASE |= {"layer_norm_eps": 1e-5, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
LARGE: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
}
VIT_B_32: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "patch_size": 32,
}
VIT_L_14: dict[str, Any] = {**LARGE, "patch_size": 14}

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Reference:
    """The library's own vectors, float32 with unit rows, of TEXTS and of `pictures()`."""

    texts: NDArray[np.float32]
    images: NDArray[np.float32]


@functools.cache
def pictures() -> tuple[bytes, ...]:
    """Photographs as PNG: of JPEGs, serving may decode a reduced scale."""
    found = []
    for data in list(golden.photographs().values())[:4]:
        buffer = io.BytesIO()
        Image.open(io.BytesIO(data)).convert("RGB").save(buffer, "PNG")
        found.append(buffer.getvalue())
    return tuple(found)


def small_once(make: Callable[..., Reference]) -> Callable[..., Reference]:
    """The small form is made once in a process; whoever asks for it later gets a copy of its files."""
    files: dict[Path, bytes] = {}

    @functools.cache
    def small() -> Reference:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made, "small")
            reference = make(folder, true=False)
            files.update((p.relative_to(folder), p.read_bytes()) for p in folder.rglob("*") if p.is_file())
        return reference

    @functools.wraps(make)
    def family(folder: Path, *, true: bool) -> Reference:
        if true:
            return make(folder, true=True)
        reference = small()
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return reference

    return family


def randomise(model: Model) -> Model:
    """Weights by which texts and images differ: fresh ones are so small that all would have one vector."""
    torch.manual_seed(0)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        if "running" in name or name.endswith("norm.weight") or ".bn" in name:
            tensor.uniform_(0.5, 1.5) if "weight" in name or "var" in name else tensor.normal_(std=0.1)
        elif tensor.dim() > 1:
            tensor.normal_(std=tensor[0].numel() ** -0.5)
    return model.eval()


@small_once
def clip(folder: Path, *, true: bool) -> Reference:
    """CLIPModel: ViT-B/32 with OpenAI's text model."""
    vocabulary = 49_408 if true else SMALL_VOCABULARY + 2
    markers = {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": vocabulary - 1}
    text = {"vocab_size": vocabulary, **markers, "max_position_embeddings": 77}
    text |= {"projection_dim": 512} if true else {**SMALL, "projection_dim": 16}
    vision = {**VIT_B_32, "projection_dim": 512} if true else SMALL_VISION
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=text["projection_dim"])
    return _hugging_face(folder, CLIPModel(config), tokenizer(vocabulary, *CLIP_MARKERS), tokens=77)


@small_once
def altclip(folder: Path, *, true: bool) -> Reference:
    """AltCLIPModel: ViT-L/14 with XLM-R large."""
    text = {**XLM_R_BASE, **LARGE, "project_dim": 768} if true else {**SMALL, "project_dim": 24}
    text |= {"pad_token_id": 1, "vocab_size": 250_002 if true else SMALL_VOCABULARY}
    dim = 768 if true else 16
    vision = {**VIT_L_14, "projection_dim": dim} if true else SMALL_VISION
    model = AltCLIPModel(AltCLIPConfig(text_config=text, vision_config=vision, projection_dim=dim))
    return _hugging_face(folder, model, tokenizer(text["vocab_size"], *ROBERTA_MARKERS), tokens=77)


@small_once
def dual_encoder(folder: Path, *, true: bool) -> Reference:
    """VisionTextDualEncoderModel: ViT-B/32 with RoBERTa base, as the article about Gaudi 2 has it."""
    shape = {} if true else SMALL
    text = RobertaConfig(
        **shape,
        vocab_size=50_265 if true else SMALL_VOCABULARY,
        max_position_embeddings=514,
        type_vocab_size=1,
    )
    vision = CLIPVisionConfig(**(VIT_B_32 if true else SMALL_VISION))
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        vision, text, projection_dim=512 if true else 16
    )
    made = tokenizer(text.vocab_size, *ROBERTA_MARKERS)
    return _hugging_face(folder, VisionTextDualEncoderModel(config), made, tokens=512)


@small_once
@torch.inference_mode()
def siglip(folder: Path, *, true: bool) -> Reference:
    """SiglipModel: SigLIP 2 base with patches of 16; its tokenizer.json is Gemma's, as published."""
    vocabulary = 256_000 if true else 8_000
    shape = {} if true else SMALL  # what is not given is as in the base model
    text = {**shape, "vocab_size": vocabulary, "max_position_embeddings": 64}
    side, patch = (224, 16) if true else (32, 8)
    vision = {**shape, "image_size": side, "patch_size": patch}
    model = randomise(SiglipModel(SiglipConfig(text_config=text, vision_config=vision)))
    model.save_pretrained(folder)
    gemma_tokenizer(vocabulary).save(str(folder / "tokenizer.json"))
    processor = SiglipImageProcessorPil(size={"height": side, "width": side}, resample=2)
    processor.save_pretrained(folder)
    pieces, merges = gemma(vocabulary)
    words = Siglip2Tokenizer(
        vocab=pieces,
        merges=merges,  # type: ignore[arg-type]  # pairs are taken as well as the lines that are declared
        add_eos_token=True,
        padding_side="right",
    )
    images: list[Image.Image] = [Image.open(io.BytesIO(data)) for data in pictures()]
    pixels = torch.from_numpy(np.stack(processor(images)["pixel_values"]))

    def embed_texts() -> Tensor:
        asked: dict[str, Any] = {
            "padding": "max_length",
            "max_length": 64,
            "truncation": True,
            "return_tensors": "pt",
        }
        ids = [words(TEXTS[start : start + 6], **asked).input_ids for start in range(0, len(TEXTS), 6)]
        return torch.cat([model.get_text_features(input_ids=part).pooler_output for part in ids])

    return _reference(embed_texts, lambda: model.get_image_features(pixel_values=pixels).pooler_output)


@small_once
def laion_base(folder: Path, *, true: bool) -> Reference:
    """open_clip's xlm-roberta-base-ViT-B-32."""
    return _open_clip(folder, "xlm-roberta-base-ViT-B-32", XLM_R_BASE, true=true)


@small_once
def laion_large(folder: Path, *, true: bool) -> Reference:
    """open_clip's xlm-roberta-large-ViT-H-14."""
    return _open_clip(folder, "xlm-roberta-large-ViT-H-14", XLM_R_BASE | LARGE, true=true)


@small_once
@torch.inference_mode()
def gzomer(folder: Path, *, true: bool) -> Reference:
    """Projection heads on OpenAI's RN50x4 and XLM-R base."""
    if true:
        config = open_clip.get_model_config("RN50x4")
    else:
        config = {"embed_dim": 48, "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16}}
        config["vision_cfg"]["patch_size"] = None
        config["text_cfg"] = {"vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    clip_model = randomise(open_clip.CLIP(**config))
    own = folder / "RN50x4"
    own.mkdir(parents=True)
    _save_open_clip(own, clip_model, config)
    shape = XLM_R_BASE if true else {**XLM_R_BASE, **SMALL, "vocab_size": SMALL_VOCABULARY}
    # The public file is that of masked language modelling.
    language_model = randomise(XLMRobertaForMaskedLM(XLMRobertaConfig(**shape)))
    text = folder / "xlm-roberta-base"
    language_model.save_pretrained(text)
    words = tokenizer(shape["vocab_size"], *ROBERTA_MARKERS)
    words.save(str(text / "tokenizer.json"))
    heads = {}
    widths = {"text": language_model.config.hidden_size, "visual": config["embed_dim"]}
    for tower, width in widths.items():
        head = {"linear1.weight": torch.randn(512, width) * width**-0.5}
        head |= {f"linear_layers.{i}.weight": torch.randn(512, 512) * 512**-0.5 for i in range(3)}
        head |= {"layer_norm.weight": torch.rand(512) + 0.5, "layer_norm.bias": torch.randn(512) * 0.1}
        torch.save(head, folder / f"clip-{tower}-projection.ckpt")
        heads[tower] = head
    encoder = language_model.roberta

    def embed_texts(ids: Tensor, mask: Tensor) -> Tensor:
        return _project(heads["text"], encoder(ids, attention_mask=mask).last_hidden_state[:, 0])

    side = config["vision_cfg"]["image_size"]
    return _reference(
        lambda: _in_batches(embed_texts, words, tokens=64, pad_id=1),
        lambda: _project(heads["visual"], clip_model.encode_image(_transformed(side))),
    )


@small_once
@torch.inference_mode()
def own(folder: Path, *, true: bool) -> Reference:
    """A checkpoint of this project: ViT-B/32 with XLM-R base."""
    config = towers.CONFIG
    if not true:
        text = TextConfig(vocab_size=SMALL_VOCABULARY, width=32, layers=1, heads=2, max_tokens=77)
        vision = VisionConfig(size=32, stem=(), patch=8, width=32, layers=1, heads=2)
        config = ModelConfig(name="own", dim=16, text=text, vision=vision)
    model = randomise(BabelCLIP(config))
    words = tokenizer(config.text.vocab_size, *ROBERTA_MARKERS)
    checkpoint.save(folder, model, words, languages=[], training={"steps": 0}, dtype=torch.float32)
    limits: dict[str, Any] = {"size": config.vision.size, "max_pixels": 50_000_000, "max_bytes": 20_000_000}
    pixels = np.stack([decode_image(data, **limits) for data in pictures()])
    return _reference(
        lambda: _in_batches(model.text, words, tokens=77, pad_id=config.text.pad_id),
        lambda: model.vision(torch.from_numpy(pixels)),
    )


FAMILIES: dict[str, Callable[..., Reference]] = {
    "own": own,
    "gzomer": gzomer,
    "altclip": altclip,
    "laion-base": laion_base,
    "laion-large": laion_large,
    "dual-encoder": dual_encoder,
    "clip": clip,
    "siglip": siglip,
}


def _project(head: dict[str, Tensor], x: Tensor) -> Tensor:
    """gzomer's projection, step by step from its description."""
    p = x @ head["linear1.weight"].T
    for i in range(3):
        step = F.gelu(p) @ head[f"linear_layers.{i}.weight"].T
        p = F.layer_norm(p + step, (512,), head["layer_norm.weight"], head["layer_norm.bias"])
    return p


def _in_batches(
    embed: Callable[[Tensor, Tensor], Tensor], words: Tokenizer, *, tokens: int, pad_id: int
) -> Tensor:
    """All TEXTS, padded to the model's longest as the originals do."""
    words.enable_truncation(tokens)
    words.enable_padding(pad_id=pad_id, length=tokens)
    rows = []
    for start in range(0, len(TEXTS), 6):
        found = words.encode_batch(TEXTS[start : start + 6])
        ids = torch.tensor([one.ids for one in found])
        rows.append(embed(ids, torch.tensor([one.attention_mask for one in found])))
    return torch.cat(rows)


def _reference(texts: Callable[[], Tensor], images: Callable[[], Tensor]) -> Reference:
    with torch.inference_mode():
        rows = [F.normalize(made().float(), dim=-1).numpy() for made in (texts, images)]
    return Reference(*rows)


@torch.inference_mode()
def _hugging_face(folder: Path, model: Any, words: Tokenizer, *, tokens: int) -> Reference:
    randomise(model)
    model.save_pretrained(folder)
    words.save(str(folder / "tokenizer.json"))
    side = model.config.vision_config.image_size
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}, resample=3
    )
    processor.save_pretrained(folder)
    images: list[Image.Image] = [Image.open(io.BytesIO(data)) for data in pictures()]

    def embed(ids: Tensor, mask: Tensor) -> Tensor:
        vectors: Tensor = model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
        return vectors

    pixels = torch.from_numpy(np.stack(processor(images)["pixel_values"]))
    pad_id = model.config.text_config.pad_token_id
    return _reference(
        lambda: _in_batches(embed, words, tokens=tokens, pad_id=pad_id),
        lambda: model.get_image_features(pixel_values=pixels).pooler_output,
    )


@torch.inference_mode()
def _open_clip(folder: Path, name: str, text: dict[str, Any], *, true: bool) -> Reference:
    folder.mkdir(parents=True)
    if true:
        config = open_clip.get_model_config(name)
        XLMRobertaConfig(**text).save_pretrained(folder.parent / f"{folder.name}.text")
        local = str(folder.parent / f"{folder.name}.text")
    else:
        config = {
            "embed_dim": 16,
            "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8},
        }
        config["vision_cfg"]["head_width"] = 16
        config["text_cfg"] = {"hf_model_name": "text", "hf_pooler_type": "mean_pooler"}
        text = XLM_R_BASE | SMALL | {"vocab_size": SMALL_VOCABULARY}
        XLMRobertaConfig(**text).save_pretrained(folder / "text")
        local = str(folder / "text")
    built = {
        **config,
        "text_cfg": {**config["text_cfg"], "hf_model_name": local, "hf_model_pretrained": False},
    }
    model = randomise(open_clip.CustomTextCLIP(**built))
    _save_open_clip(folder, model, config)
    words = tokenizer(text["vocab_size"], *ROBERTA_MARKERS)
    words.save(str(folder / "tokenizer.json"))
    side = config["vision_cfg"]["image_size"]
    return _reference(
        lambda: _in_batches(lambda ids, _: model.encode_text(ids), words, tokens=77, pad_id=1),
        lambda: model.encode_image(_transformed(side)),
    )


def _save_open_clip(folder: Path, model: nn.Module, config: dict[str, Any]) -> None:
    """As open_clip pushes a model to the hub."""
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    described = {"model_cfg": config, "preprocess_cfg": {"mean": list(MEAN), "std": list(STD)}}
    (folder / "open_clip_config.json").write_text(json.dumps(described))


def _transformed(side: int) -> Tensor:
    """The pictures by open_clip's own evaluation transform."""
    transform = open_clip.image_transform(side, is_train=False, mean=MEAN, std=STD)
    return torch.stack([transform(Image.open(io.BytesIO(data))) for data in pictures()])


def nearest(reference: NDArray[np.float32], rows: Sequence[NDArray[np.float32]]) -> float:
    """The smallest cosine between rows that belong together."""
    return float((reference * np.stack(rows)).sum(1).min())
