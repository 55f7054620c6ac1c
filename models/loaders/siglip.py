"""SigLIP, and SigLIP 2 of a fixed resolution: where they differ from CLIP.

Texts are lowercased and have one length, padding included, which the model attends to as to any token. Images
are squashed into a square. There is no projection: the pooled states are the vectors. SigLIP 2's tokenizer is
Gemma's; whether its file lowercases, as transformers' Siglip2Tokenizer does, and ends a text is not relied
on: both are ensured here. The NaFlex variants of SigLIP 2 see images of any proportion and are another
architecture.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, normalizers
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn

from models.dual_encoder import DualEncoder, Inputs, TextInput, TextTower, VisionTower
from models.files import image_processor, tokenizers
from models.files.plain_text import plain
from models.files.weights import CheckpointError


class FixedLengthText(nn.Module):
    """A text model that sees `length` tokens of every text, and attends to the padding as to any token."""

    def __init__(self, model: nn.Module, length: int, pad_id: int) -> None:
        super().__init__()
        self.model, self.length, self.pad_id = model, length, pad_id

    def get_input_embeddings(self) -> Any:
        """The table of tokens, by transformers' name for it."""
        inner: Any = self.model
        return inner.get_input_embeddings()

    def set_input_embeddings(self, table: nn.Module) -> None:
        """Replace the table of tokens."""
        inner: Any = self.model
        inner.set_input_embeddings(table)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        """ids, mask int64 [N, L], L at most `length` → the model's output."""
        ids = torch.where(attention_mask.bool(), input_ids, self.pad_id)
        rest = ids.new_full((ids.shape[0], self.length), self.pad_id)
        return self.model(input_ids=torch.cat([ids, rest], dim=1)[:, : self.length])


def parts(folder: Path, model: Any) -> tuple[DualEncoder, Tokenizer]:
    """Both towers of a SiglipModel and its tokenizer.

    Raises:
        CheckpointError: names the file and what of it is not served.
    """
    config = model.config
    tokenizer, pad_id = trained_tokenizer(folder, config.text_config.vocab_size)
    length = int(config.text_config.max_position_embeddings)
    inputs = Inputs(
        TextInput(max_tokens=length, pad_id=pad_id, fixed_length=True),
        image_processor.vision_input(folder, int(config.vision_config.image_size), "SiglipImageProcessor"),
    )
    text = TextTower(FixedLengthText(model.text_model, length, pad_id), "model", nn.Identity())
    vision = VisionTower(model.vision_model, nn.Identity(), inputs.vision)
    return DualEncoder(text, vision, inputs, model.logit_scale, model.logit_bias), tokenizer


def trained_tokenizer(folder: Path, vocabulary: int, clean: Sequence[Any] = ()) -> tuple[Tokenizer, int]:
    """The folder's tokenizer, as in training, and the id that it pads with.

    `clean`, normalizers, come before the file's own; without them the file must lowercase, or be Gemma's.

    Raises:
        CheckpointError: the file is missing, or is not of SigLIP's or SigLIP 2's kind.
    """
    path = tokenizers.files_of(folder)[0]
    tokenizer = tokenizers.published(folder, vocabulary)
    raw = json.loads(tokenizer.to_str())
    gemma = raw["model"]["type"] == "BPE"
    end, padding = ("<eos>", "<pad>") if gemma else ("</s>", "</s>")
    end_id, pad_id = tokenizer.token_to_id(end), tokenizer.token_to_id(padding)
    if end_id is None or pad_id is None:
        raise CheckpointError(f"{path} lacks {end} or {padding}, which SigLIP's tokenizers have")
    if not clean and "Lowercase" not in json.dumps(raw["normalizer"]):
        if not gemma:
            raise CheckpointError(f"{path} does not lowercase texts, which SigLIP was trained with")
        clean = [normalizers.Lowercase()]
    if clean:
        published = [tokenizer.normalizer] if tokenizer.normalizer else []
        tokenizer.normalizer = normalizers.Sequence([*clean, *published])
    tokenizer.post_processor = TemplateProcessing(single=f"$A {end}", special_tokens=[(end, end_id)])
    return plain(tokenizer), int(pad_id)
