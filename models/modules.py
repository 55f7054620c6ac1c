"""This project's own architecture: XLM-R over a small vocabulary, with a memory, and a small ViT.

`BabelCLIP` is a `models.dual_encoder.DualEncoder` whose encoders are those of transformers, built from the
sizes in `ModelConfig`, which a checkpoint's meta.json holds.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    ViTConfig,
    ViTModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from models.dual_encoder import DualEncoder, Inputs, TextInput, TextTower, VisionInput, VisionTower

LOG_SCALE = 3.0  # where the logit scale starts, by its natural logarithm


@dataclass(frozen=True)
class TextConfig:
    """Sizes of the text tower."""

    vocab_size: int = 42_000
    width: int = 128
    layers: int = 1
    heads: int = 2
    max_tokens: int = 32
    pad_id: int = 1
    memory: int = 0  # vectors that the tower recalls; 0: it has none
    memory_scale: float = 40.0  # of a query's cosines with them, before the softmax


@dataclass(frozen=True)
class VisionConfig:
    """Sizes of the vision tower, and how its pixels are normalised."""

    size: int = 64
    stem: tuple[int, ...] = (32, 64, 128)  # channels after each halving; the last halving leads to `width`
    patch: int = 0  # side of the patches of a plain ViT as CLIP has it; 0: the stem decides
    width: int = 256
    layers: int = 3
    heads: int = 4
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ModelConfig:
    """The architecture: both towers, and the dimensions of their common space."""

    name: str = "mini"
    dim: int = 256
    text: TextConfig = field(default_factory=TextConfig)
    vision: VisionConfig = field(default_factory=VisionConfig)

    def inputs(self) -> Inputs:
        """How the towers' inputs are made."""
        text, vision = self.text, self.vision
        return Inputs(
            TextInput(text.max_tokens, text.pad_id), VisionInput(vision.size, vision.mean, vision.std)
        )

    def to_json(self) -> dict[str, Any]:
        """As meta.json holds it."""
        return asdict(self)

    @staticmethod
    def from_json(raw: dict[str, Any]) -> "ModelConfig":
        """The config that `to_json` wrote."""
        vision: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw["vision"].items()}
        return ModelConfig(
            name=raw["name"], dim=raw["dim"], text=TextConfig(**raw["text"]), vision=VisionConfig(**vision)
        )


class Memory(nn.Module):
    """Moves a query towards the stored vectors that it resembles.

    One step of a modern Hopfield network ("Hopfield Networks is All You Need", Ramsauer et al. 2020), as
    CLOOB (Fürst et al. 2021) has it between a CLIP's towers and its loss. Where the softmax over the stored
    vectors is what the query was trained by, its attention weights are the model's probabilities of each, and
    what is recalled is their mean under them. An empty memory, of zeros, leaves the query as it is.
    """

    def __init__(self, rows: int, dim: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.vectors = nn.Parameter(torch.zeros(rows, dim))

    def forward(self, query: Tensor) -> Tensor:
        """[N, dim], not normalised → float32 [N, dim], not normalised."""
        query, vectors = F.normalize(query.float(), dim=-1), self.vectors.float()
        attention = F.softmax(self.scale * query @ vectors.T, dim=-1)  # [N, rows]
        return query + F.normalize(attention @ vectors, dim=-1)


class ClassMemory(nn.Module):
    """A head that also recalls what a classifier sees: the mean of its classes' vectors under its softmax.

    "Zero-Shot Learning by Convex Combination of Semantic Embeddings", Norouzi et al. 2014. `share` is the
    length of what the head itself makes of the features, beside a recalled vector of length 1.
    """

    def __init__(
        self, head: nn.Module, classifier: nn.Linear, dim: int, *, scale: float, share: float
    ) -> None:
        super().__init__()
        self.head, self.classifier = head, classifier
        self.scale, self.share = scale, share
        self.vectors = nn.Parameter(torch.zeros(classifier.out_features, dim))

    def forward(self, features: Tensor) -> Tensor:
        """[N, width] → float32 [N, dim], not normalised."""
        own = F.normalize(self.head(features).float(), dim=-1)
        attention = F.softmax(self.scale * self.classifier(features).float(), dim=-1)  # [N, classes]
        return self.share * own + F.normalize(attention @ self.vectors.float(), dim=-1)


class Residual(nn.Module):
    """Two 3×3 convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        )
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


class ConvStem(nn.Sequential):
    """Strided convolutions in place of ViT's patch projection; small ViTs learn far faster behind one.

    "Early Convolutions Help Transformers See Better", Xiao et al. 2021.
    """

    def __init__(self, channels: tuple[int, ...], width: int) -> None:
        layers: list[nn.Module] = []
        before = 3
        for i, after in enumerate(channels):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [Residual(after)] if i > 0 else []  # at full width the first stage would cost most
            before = after
        layers.append(nn.Conv2d(before, width, 3, 2, 1))
        super().__init__(*layers)

    @property
    def weight(self) -> Tensor:
        """ViTModel asks its patch projection for the dtype of its weight."""
        return self[-1].get_parameter("weight")


class ConvViT(ViTModel):
    """A ViT behind a convolutional stem; what stands for an image is the mean of its tokens."""

    def __init__(self, config: VisionConfig) -> None:
        shape = ViTConfig(
            **_shape(config, patch=2 ** (len(config.stem) + 1)),
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        super().__init__(shape, add_pooling_layer=False)
        patches: Any = self.embeddings.patch_embeddings
        patches.projection = ConvStem(config.stem, config.width)
        self.size = config.size

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [N, 3, size, size] → [N, width].

        Training also passes smaller images, whose sides are multiples of the patch.
        """
        smaller = pixels.shape[-1] != self.size
        hidden: Tensor = super().forward(pixels, interpolate_pos_encoding=smaller).last_hidden_state
        return hidden.mean(1)  # of [N, 1 + patches, width]


def _shape(config: VisionConfig, patch: int) -> dict[str, Any]:
    """The sizes under transformers' names."""
    return {
        "image_size": config.size,
        "patch_size": patch,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": 4 * config.width,
    }


def text_tower(config: ModelConfig) -> TextTower:
    """A text tower with new weights: masked mean pooling, and a memory where the config has one."""
    text = config.text
    encoder = XLMRobertaModel(
        XLMRobertaConfig(
            vocab_size=text.vocab_size,
            hidden_size=text.width,
            num_hidden_layers=text.layers,
            num_attention_heads=text.heads,
            intermediate_size=4 * text.width,
            max_position_embeddings=text.max_tokens + text.pad_id + 1,  # XLM-R counts from pad_id + 1
            pad_token_id=text.pad_id,
            type_vocab_size=1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        add_pooling_layer=False,
    )
    projection = nn.Linear(text.width, config.dim, bias=False)
    memory = Memory(text.memory, config.dim, text.memory_scale) if text.memory else None
    return TextTower(encoder, "mean", projection, memory)


def vision_tower(config: ModelConfig) -> VisionTower:
    """A vision tower with new weights: a ViT behind a convolutional stem, or a plain one as CLIP has it."""
    vision = config.vision
    encoder: nn.Module
    if vision.patch:
        encoder = CLIPVisionModel(CLIPVisionConfig(**_shape(vision, vision.patch)))
    else:
        encoder = ConvViT(vision)
    projection = nn.Linear(vision.width, config.dim, bias=False)
    return VisionTower(encoder, projection, config.inputs().vision)


class BabelCLIP(DualEncoder):
    """A dual encoder of this project's own architecture, with new weights."""

    def __init__(self, architecture: ModelConfig) -> None:
        text, vision = text_tower(architecture), vision_tower(architecture)
        super().__init__(text, vision, architecture.inputs(), nn.Parameter(torch.tensor(LOG_SCALE)))
        self.architecture = architecture
