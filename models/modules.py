"""The two towers: what a text and an image go through on their way into one vector space.

Each tower is callable alone, and takes what the exported program takes: token ids with their mask, or decoded
uint8 pixels (normalisation is part of the vision tower, so serving cannot drift from training). Both return
L2-normalised rows. The encoders are those of transformers, built from their own configs.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

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

from handlers.preprocess.reference import Resize


@dataclass(frozen=True)
class TextConfig:
    vocab_size: int = 42_000
    width: int = 128
    layers: int = 1
    heads: int = 2
    max_tokens: int = 32
    pad_id: int = 1
    memory: int = 0  # vectors that the tower recalls; 0: it has none
    memory_scale: float = 40.0  # of a query's cosines with them, before the softmax
    fixed_length: ClassVar[bool] = False  # padding is masked


@dataclass(frozen=True)
class VisionConfig:
    size: int = 64
    stem: tuple[int, ...] = (32, 64, 128)  # channels after each halving; the last halving leads to `width`
    patch: int = 0  # side of the patches of a plain ViT as CLIP has it; 0: the stem decides
    width: int = 256
    layers: int = 3
    heads: int = 4
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    resize: ClassVar[Resize] = "bicubic"


@dataclass(frozen=True)
class ModelConfig:
    name: str = "mini"
    dim: int = 256
    text: TextConfig = field(default_factory=TextConfig)
    vision: VisionConfig = field(default_factory=VisionConfig)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(raw: dict[str, Any]) -> "ModelConfig":
        vision = {key: tuple(v) if isinstance(v, list) else v for key, v in raw["vision"].items()}
        return ModelConfig(
            name=raw["name"], dim=raw["dim"], text=TextConfig(**raw["text"]), vision=VisionConfig(**vision)
        )


class Memory(nn.Module):
    """Moves a query towards the stored vectors that it resembles.

    One step of a modern Hopfield network ("Hopfield Networks is All You Need", Ramsauer et al. 2020), as
    CLOOB (Fürst et al. 2021) has it between a CLIP's towers and its loss. Where the softmax over the stored
    vectors is what the query was trained by, its weights are the model's belief in each, and what is recalled
    is their mean under it. An empty memory, of zeros, leaves the query as it is.
    """

    def __init__(self, rows: int, dim: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.vectors = nn.Parameter(torch.zeros(rows, dim))

    def forward(self, query: Tensor) -> Tensor:
        """[N, dim] of any length → float32 [N, dim], not normalised."""
        query, vectors = F.normalize(query.float(), dim=-1), self.vectors.float()
        belief = F.softmax(self.scale * query @ vectors.T, dim=-1)  # [N, rows]
        return query + F.normalize(belief @ vectors, dim=-1)


class TextTower(nn.Module):
    """An XLM-R encoder, masked mean pooling, a linear projection and, where the config says so, a memory."""

    def __init__(self, config: TextConfig, dim: int) -> None:
        super().__init__()
        self.encoder = XLMRobertaModel(
            XLMRobertaConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.width,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                intermediate_size=4 * config.width,
                max_position_embeddings=config.max_tokens + config.pad_id + 1,  # XLM-R counts from pad_id + 1
                pad_token_id=config.pad_id,
                type_vocab_size=1,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            ),
            add_pooling_layer=False,
        )
        self.projection = nn.Linear(config.width, dim, bias=False)
        self.memory = Memory(config.memory, dim, config.memory_scale) if config.memory else nn.Identity()

    @property
    def head(self) -> nn.Module:
        """What leads from `state` into the common space."""
        return nn.Sequential(self.projection, self.memory)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask int64 [N, L] → float32 [N, dim], unit rows."""
        return F.normalize(self.memory(self.projection(self.state(ids, mask))).float(), dim=-1)

    def query(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask int64 [N, L] → float32 [N, dim], unit rows: what the memory is asked with."""
        return F.normalize(self.projection(self.state(ids, mask)).float(), dim=-1)

    def state(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask int64 [N, L] → [N, width]: what the head is given."""
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state  # [N, L, width]
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        pooled: Tensor = (hidden * weight).sum(1) / weight.sum(1)
        return pooled


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
        return self[-1].weight  # type: ignore[return-value]


class VisionTower(nn.Module):
    """A ViT and a linear projection: behind a convolutional stem with mean pooling, or as CLIP has it."""

    def __init__(self, config: VisionConfig, dim: int) -> None:
        super().__init__()
        self.size = config.size
        self.plain = config.patch > 0
        shape = {
            "image_size": config.size,
            "patch_size": config.patch or 2 ** (len(config.stem) + 1),
            "hidden_size": config.width,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "intermediate_size": 4 * config.width,
        }
        if self.plain:
            self.encoder = CLIPVisionModel(CLIPVisionConfig(**shape))
        else:
            self.encoder = ViTModel(
                ViTConfig(**shape, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
                add_pooling_layer=False,
            )
            self.encoder.embeddings.patch_embeddings.projection = ConvStem(config.stem, config.width)
        self.projection = nn.Linear(config.width, dim, bias=False)
        # Part of the architecture, not of the weights: kept in meta.json.
        self.register_buffer("mean", 255 * torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(config.std).view(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels uint8 (or float of the same range) [N, size, size, 3] → float32 [N, dim], unit rows.

        Training also passes smaller images, whose sides are multiples of the patch.
        """
        x = pixels.permute(0, 3, 1, 2).to(self.projection.weight.dtype)  # [N, 3, size, size]
        x = (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)
        smaller = pixels.shape[1] != self.size
        encoded = self.encoder(x, interpolate_pos_encoding=smaller)
        hidden = encoded.last_hidden_state  # [N, 1 + patches, width]
        pooled = encoded.pooler_output if self.plain else hidden.mean(1)
        return F.normalize(self.projection(pooled).float(), dim=-1)


class DualEncoder(nn.Module):
    """Both towers and the learned scale of their cosines."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.text = TextTower(config.text, config.dim)
        self.vision = VisionTower(config.vision, config.dim)
        self.log_scale = nn.Parameter(torch.tensor(3.0))

    def scale(self) -> Tensor:
        """Factor of a cosine before the softmax; between 1 and 100, as in CLIP."""
        return self.log_scale.clamp(0, 4.6052).exp()
