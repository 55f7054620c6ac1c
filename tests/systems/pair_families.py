"""Text towers that are published apart from their image tower, each beside its CLIP, with random weights.

The text towers' own packages are thin: a text model of transformers, its mean and a linear layer. So they are
built here of those parts, and saved by the names that the packages give them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import DistilBertConfig, DistilBertModel, XLMRobertaConfig, XLMRobertaModel

from benchmarks.support.vocabularies import ROBERTA_MARKERS, SMALL_VOCABULARY, tokenizer
from tests.systems import families, open_clip_families
from tests.systems.families import LARGE, SMALL, XLM_R_BASE, Reference, randomise, small_once

SMALL_VISION: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": open_clip_families.SMALL_TEXT,
}


@small_once
@torch.inference_mode()
def mclip(folder: Path, *, true: bool) -> Reference:
    """M-CLIP: XLM-R large with a linear layer, beside open_clip's ViT-B/16+ of 240 pixels."""
    name, dim = ("ViT-B-16-plus-240", 640) if true else (SMALL_VISION, 16)
    images = open_clip_families.saved(
        folder / "vision", name, open_clip_families.OPENAI, open_clip_families.OwnTokenizer()
    )
    text = folder / "text"
    text.mkdir()
    shape = XLM_R_BASE | LARGE if true else XLM_R_BASE | SMALL | {"vocab_size": SMALL_VOCABULARY}
    config = XLMRobertaConfig(**shape)
    parts = nn.ModuleDict({"transformer": XLMRobertaModel(config)})
    parts["LinearTransformation"] = nn.Linear(config.hidden_size, dim)
    randomise(parts)
    save_file(parts.state_dict(), text / "model.safetensors", metadata={"format": "pt"})
    described = {"architectures": ["MultilingualCLIP"], "model_type": "M-CLIP", "numDims": dim}
    described |= {"modelBase": "xlm-roberta-large", "transformerDimensions": config.hidden_size}
    if not true:
        described["modelBase"] = "someone/text-model"
        config.save_pretrained(text / "text-model")
    (text / "config.json").write_text(json.dumps(described))
    words = tokenizer(config.vocab_size, *ROBERTA_MARKERS)
    words.save(str(text / "tokenizer.json"))

    def embed(ids: Tensor, mask: Tensor) -> Tensor:
        rows: Tensor = parts["LinearTransformation"](mean(parts["transformer"], ids, mask))
        return rows

    found = families._reference(
        lambda: families._in_batches(embed, words, tokens=512, pad_id=1), lambda: torch.zeros(1, dim)
    )
    return Reference(found.texts, images.images)


@small_once
@torch.inference_mode()
def sentence_transformers(folder: Path, *, true: bool) -> Reference:
    """clip-ViT-B-32-multilingual-v1: DistilBERT, mean and a dense layer, beside clip-ViT-B-32."""
    images = families.clip(folder / "vision" / "0_CLIPModel", true=true)
    write(folder / "vision" / "modules.json", [_part(0, "0_CLIPModel", "CLIPModel")])
    text, dim = folder / "text", 512 if true else 16
    small: dict[str, Any] = {"dim": 32, "hidden_dim": 64, "n_layers": 1, "n_heads": 2}
    shape: dict[str, Any] = {"vocab_size": 119_547} if true else {**small, "vocab_size": SMALL_VOCABULARY}
    config = DistilBertConfig(**shape, sinusoidal_pos_embds=False)
    model = randomise(DistilBertModel(config))
    dense = randomise(nn.Linear(config.dim, dim, bias=False))
    model.save_pretrained(text)
    words = tokenizer(config.vocab_size, *ROBERTA_MARKERS)
    words.save(str(text / "tokenizer.json"))
    listed = [_part(0, "", "Transformer"), _part(1, "1_Pooling", "Pooling"), _part(2, "2_Dense", "Dense")]
    write(text / "modules.json", listed)
    write(text / "sentence_bert_config.json", {"max_seq_length": 128, "do_lower_case": False})
    modes = {"cls_token": False, "mean_tokens": True, "max_tokens": False, "mean_sqrt_len_tokens": False}
    pooling: dict[str, Any] = {f"pooling_mode_{name}": on for name, on in modes.items()}
    write(text / "1_Pooling" / "config.json", {"word_embedding_dimension": config.dim, **pooling})
    activation = "torch.nn.modules.linear.Identity"
    layer = {"in_features": config.dim, "out_features": dim, "bias": False, "activation_function": activation}
    write(text / "2_Dense" / "config.json", layer)
    save_file({"linear.weight": dense.weight.detach()}, text / "2_Dense" / "model.safetensors")

    def embed(ids: Tensor, mask: Tensor) -> Tensor:
        rows: Tensor = dense(mean(model, ids, mask))
        return rows

    found = families._reference(
        lambda: families._in_batches(embed, words, tokens=128, pad_id=0), lambda: torch.zeros(1, dim)
    )
    return Reference(found.texts, images.images)


FAMILIES: dict[str, Callable[..., Reference]] = {
    "mclip": mclip,
    "sentence-transformers": sentence_transformers,
}


def mean(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """The mean of a text's states, without those of the padding: [N, width]."""
    states = model(input_ids=ids, attention_mask=mask).last_hidden_state
    rows: Tensor = (states * mask.unsqueeze(2)).sum(dim=1) / mask.sum(dim=1)[:, None]
    return rows


def write(path: Path, content: Any) -> None:
    """JSON, in a folder that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _part(number: int, path: str, kind: str) -> dict[str, Any]:
    return {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
