"""Meta CLIP 2 worldwide with random weights, in transformers' own files: its smallest size, or a small one.

ViT-S/16 and a text model of 12 layers over XLM-V's vocabulary of 901,629 pieces, which are 1.4 of its 1.6 GB.
The pieces are those of the committed model and pairs of them: XLM-V's own are not at hand.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from transformers import CLIPImageProcessorPil, MetaClip2Config, MetaClip2Model, XLMRobertaTokenizer

from benchmarks.support.vocabularies import ROBERTA_MARKERS, SMALL_VOCABULARY, tokenizer

PIECES = 901_629
TOKENS = 77
S_16: dict[str, Any] = {
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "projection_dim": 384,
    "hidden_act": "gelu",
}
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "projection_dim": 16,
}


class MetaClip2(NamedTuple):
    """What a published folder holds."""

    model: MetaClip2Model
    words: XLMRobertaTokenizer
    processor: CLIPImageProcessorPil

    def save(self, folder: Path) -> None:
        """Write all of it, as transformers does."""
        for part in self:
            part.save_pretrained(folder)


def make(*, true: bool) -> MetaClip2:
    """The model with new weights; `true` for its true shapes."""
    pieces = PIECES if true else SMALL_VOCABULARY + 1
    shape, side, patch = (S_16, 224, 16) if true else (SMALL, 32, 8)
    markers = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    text = {**shape, **markers, "vocab_size": pieces, "max_position_embeddings": TOKENS}
    vision = {**shape, "image_size": side, "patch_size": patch}
    config = MetaClip2Config(text_config=text, vision_config=vision, projection_dim=shape["projection_dim"])
    square = {"height": side, "width": side}
    return MetaClip2(
        MetaClip2Model(config).eval(),
        XLMRobertaTokenizer(vocab=_vocabulary(pieces), model_max_length=512),
        CLIPImageProcessorPil(size=square, crop_size=square),  # as published: a square, so nothing is cropped
    )


def _vocabulary(size: int) -> list[tuple[str, float]]:
    """XLM-R's and XLM-V's order: the markers first, and <mask> last."""
    raw = json.loads(tokenizer(size - 1, *ROBERTA_MARKERS).to_str())
    return [(piece, score) for piece, score in raw["model"]["vocab"]] + [("<mask>", 0.0)]
