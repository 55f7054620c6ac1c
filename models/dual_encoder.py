"""A dual encoder: two towers that bring texts and images into one vector space, whatever files it came from.

Each tower is an encoder of transformers or open_clip and a projection into the common space, as in their CLIP
models (`text_projection` and `visual_projection`, `proj`), and is callable alone. It takes what the exported
program takes: token ids with their mask, or decoded uint8 pixels (they are normalised inside, so serving
cannot drift from training). Both return L2-normalised rows.

`models.modules` builds this project's own architecture of it, `models.loaders` the public ones.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from handlers.preprocess.languages import LanguageTokens
from handlers.preprocess.reference import Resize

Pooling = Literal["model", "first", "mean"]
"""What stands for a text: the model's own pooled state, its first token, or the mean of its tokens."""


@dataclass(frozen=True)
class TextInput:
    """Token ids: at most `max_tokens` of them, shorter rows padded with `pad_id`.

    `fixed_length` says that the tower itself pads every row to `max_tokens`, and attends to the padding.
    `languages` are those that a token of its own tells the tower; None where no text has one.
    """

    max_tokens: int
    pad_id: int
    fixed_length: bool = False
    languages: LanguageTokens | None = None


@dataclass(frozen=True)
class VisionInput:
    """Pixels: `size` × `size`, and what is subtracted from and divides the colours, in units of 1 = white."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Resize = "bicubic"


@dataclass(frozen=True)
class Inputs:
    """How a model's inputs are made; what export asks of its config."""

    text: TextInput
    vision: VisionInput


class TextTower(nn.Module):
    """A text encoder of transformers, pooling, a projection and, in models that have one, a memory."""

    encoder: nn.Module
    projection: nn.Module
    memory: nn.Module

    def __init__(
        self, encoder: nn.Module, pooling: Pooling, projection: nn.Module, memory: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.encoder, self.pooling = encoder, pooling
        self.projection = projection
        self.memory = nn.Identity() if memory is None else memory

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask int64 [N, L] → float32 [N, dim], unit rows."""
        return F.normalize(self.memory(self.projection(self.pooled(ids, mask))).float(), dim=-1)

    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask int64 [N, L] → [N, width]: what the projection is given."""
        output = self.encoder(input_ids=ids, attention_mask=mask)
        pooled: Tensor
        if self.pooling == "model":
            pooled = output if isinstance(output, Tensor) else output.pooler_output
        elif self.pooling == "first":
            pooled = output.last_hidden_state[:, 0]
        else:
            hidden = output.last_hidden_state  # [N, L, width]
            weight = mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * weight).sum(1) / weight.sum(1)
        return pooled


class VisionTower(nn.Module):
    """An image encoder and a projection; normalisation of the pixels is inside.

    The encoder gives features [N, width], or an output of transformers that has them as `pooler_output`.
    """

    encoder: nn.Module
    projection: nn.Module
    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, projection: nn.Module, config: VisionInput) -> None:
        super().__init__()
        self.encoder, self.projection = encoder, projection
        # Part of the description, not of the weights.
        self.register_buffer("mean", 255 * torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(config.std).view(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels uint8 (or float of the same range) [N, size, size, 3] → float32 [N, dim], unit rows."""
        return F.normalize(self.projection(self.pooled(pixels)).float(), dim=-1)

    def pooled(self, pixels: Tensor) -> Tensor:
        """pixels as in `forward` → [N, width]: what the projection is given."""
        x = pixels.permute(0, 3, 1, 2).to(next(self.encoder.parameters()).dtype)  # [N, 3, size, size]
        output = self.encoder((x - self.mean.to(x.dtype)) / self.std.to(x.dtype))
        features: Tensor = output if isinstance(output, Tensor) else output.pooler_output
        return features


class DualEncoder(nn.Module):
    """Both towers, what they take, and the scale of their cosines.

    `logit_scale` is the scale's natural logarithm, and `logit_bias` what is added to scale × cosine, as CLIP
    and SigLIP name them. Public models share these parameters, like their encoders, with the library's model.
    """

    logit_scale: nn.Parameter
    logit_bias: nn.Parameter | None

    def __init__(
        self,
        text: TextTower,
        vision: VisionTower,
        config: Inputs,
        logit_scale: nn.Parameter,
        logit_bias: nn.Parameter | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.text, self.vision = text, vision
        self.logit_scale, self.logit_bias = logit_scale, logit_bias

    def tower(self, name: str) -> TextTower | VisionTower:
        """The tower called "text" or "vision"."""
        towers: dict[str, TextTower | VisionTower] = {"text": self.text, "vision": self.vision}
        return towers[name]

    def scale(self) -> float:
        """The factor of a cosine before the softmax."""
        return float(self.logit_scale.detach().exp())

    @torch.no_grad()
    def set_scale(self, scale: float, bias: float | None = None) -> None:
        """Write a learned scale, and a bias in models that have one, into their parameters."""
        self.logit_scale.fill_(scale).log_()
        if bias is not None and self.logit_bias is not None:
            self.logit_bias.fill_(bias)
