"""One description of a dual encoder, whatever files it came from: what a text and an image go through.

Every source becomes two towers of the same interface and `Inputs`, which say how their inputs are made. The
encoders inside are the reference library's own modules.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from handlers.preprocess.reference import Resize

Pooling = Literal["model", "first", "mean"]
"""What stands for a text: the model's own pooled state, its first token, or the mean of its tokens."""


@dataclass(frozen=True)
class TextInput:
    """Token ids: at most `max_tokens` of them, shorter rows filled up with `pad_id`.

    `fixed_length` says that the tower itself fills every row up to `max_tokens`, and that the padding is
    part of what it sees.
    """

    max_tokens: int
    pad_id: int
    fixed_length: bool = False


@dataclass(frozen=True)
class VisionInput:
    """Pixels: `size` × `size`, and what is subtracted from and divides the colours, in units of 1 = white."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Resize = "bicubic"


@dataclass(frozen=True)
class Inputs:
    """What export asks of a model's config."""

    text: TextInput
    vision: VisionInput


class TextTower(nn.Module):
    """A Hugging Face text model, its pooled state, and the head that leads into the common space."""

    def __init__(self, encoder: nn.Module, pooling: Pooling, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.pooling, self.head = encoder, pooling, head

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask int64 [N, L] → float32 [N, dim], unit rows."""
        return F.normalize(self.head(self.state(ids, mask)).float(), dim=-1)

    def state(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask int64 [N, L] → [N, width]: what the head is given."""
        output = self.encoder(input_ids=ids, attention_mask=mask)
        if self.pooling == "model":
            pooled = output.pooler_output
        elif self.pooling == "first":
            pooled = output.last_hidden_state[:, 0]
        else:
            weight = mask.unsqueeze(-1).to(output.last_hidden_state.dtype)
            pooled = (output.last_hidden_state * weight).sum(1) / weight.sum(1)
        found: Tensor = pooled
        return found


class VisionTower(nn.Module):
    """An image model and the head that leads into the common space; normalisation of the pixels is inside.

    The image model gives features, or an output of transformers that holds them as `pooler_output`.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, config: VisionInput) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        # Part of the description, not of the weights.
        self.register_buffer("mean", 255 * torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(config.std).view(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels uint8 [N, size, size, 3] → float32 [N, dim], unit rows."""
        x = pixels.permute(0, 3, 1, 2).to(next(self.encoder.parameters()).dtype)  # [N, 3, size, size]
        features = self.encoder((x - self.mean.to(x.dtype)) / self.std.to(x.dtype))
        if not isinstance(features, Tensor):
            features = features.pooler_output  # [N, width]
        return F.normalize(self.head(features).float(), dim=-1)


class Towers(nn.Module):
    """Both towers and what they take."""

    def __init__(self, text: TextTower, vision: VisionTower, config: Inputs) -> None:
        super().__init__()
        self.config = config
        self.text, self.vision = text, vision
