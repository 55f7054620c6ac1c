"""The two stages of `training.recipes.mini.train`: what each draws in a step, its loss, and what it writes.

`training.loop` runs both. They share the text tower's path: captions become queries, unit vectors before the
tower's memory, which is what both losses compare.
"""

import argparse
import random
import time
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from models import checkpoint
from models.dual_encoder import DualEncoder, TextTower, VisionTower
from models.modules import BabelCLIP
from models.revision import revision
from training import losses
from training import optimizer as optimisation
from training.by_length import by_length
from training.devices import Device
from training.loop import Settings, Stage
from training.recipes.mini import data
from training.recipes.mini.dataset import TRAIN_FAMILIES

TEXT_DECAY, VISION_DECAY = 0.02, 0.05  # the text tower is to remember its captions
PROXY_RATE, SCALE_RATE = 3e-2, 1e-3
# Of the cosines between images and of images with proxies: a learned scale grows until it tells apart what
# differs by a hair, and then nothing draws one drawing to the next.
IMAGE_SCALE = 20.0
BATCH = 256  # drawings whose mean is taken

B = TypeVar("B")


@dataclass(frozen=True)
class Corpus:
    """What is trained on: drawings and captions, each with the row of the concept it shows or names."""

    drawings: data.Drawings
    captions: data.Captions
    held_out: list[str]
    """Locales whose captions were left out."""

    def drawings_of(self) -> list[list[int]]:
        """Concept → its rows among the drawings."""
        rows: list[list[int]] = [[] for _ in self.captions.of_label]
        for row, label in enumerate(self.drawings.label.tolist()):
            rows[label].append(row)
        return rows


class QueryEncoder(nn.Module):
    """A text tower up to what its memory is asked with."""

    def __init__(self, tower: TextTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask int64 [N, L] → float32 [N, dim], unit rows."""
        return F.normalize(self.tower.projection(self.tower.pooled(ids, mask)).float(), dim=-1)


class ContrastiveModules(nn.Module):
    """What learns in the first stage: both towers, one proxy per concept, and the scale of cosines."""

    def __init__(self, model: DualEncoder, proxies: Tensor) -> None:
        super().__init__()
        self.text: TextTower = model.text
        self.vision: VisionTower = model.vision
        self.scale = losses.LogitScale(model.scale())
        self.proxies = nn.Parameter(proxies)


class MiniStage(Stage[B], Generic[B]):
    """What the two stages share. An epoch is --save-every steps, and ends with a checkpoint and a state."""

    def __init__(
        self,
        options: argparse.Namespace,
        device: Device,
        model: BabelCLIP,
        tokenizer: Tokenizer,
        corpus: Corpus,
        before: dict[str, Any],
    ) -> None:
        """`before`: what meta.json says of earlier stages, by their names."""
        self.options, self.device, self.corpus = options, device, corpus
        self.model, self.tokenizer, self.before = model.to(device.torch_device), tokenizer, before
        model.text.memory.requires_grad_(False)  # Written by the second stage, never learned.
        encoder: Any = model.text.encoder
        encoder.set_attn_implementation("eager")  # torch's fused one is slower on rows this short
        self.queries = by_length(QueryEncoder(model.text), device.kind)
        self.chance = random.Random(options.seed)
        self.in_epoch = options.save_every
        self.fixed = {"stage": options.stage, "--hold-out": " ".join(corpus.held_out) or "none"}
        self.started = time.monotonic()
        self.revision = revision()

    @abstractmethod
    def draw(self, step: int) -> B:
        """The batch of a step from 0."""

    def batches(self, epoch: int, first: int) -> Iterator[B]:
        for number in range(first, self.in_epoch):
            yield self.draw(epoch * self.in_epoch + number)

    def encode_captions(self, rows: list[list[int]]) -> Tensor:
        """Token ids of N captions → their queries [N, dim]."""
        ids, mask = data.pad(rows, self.model.config.text.max_tokens)
        found: Tensor = self.queries(ids.to(self.device.torch_device), mask.to(self.device.torch_device))
        return found

    def rate_factor(self, step: int, *, steps: int, warmup: int) -> float:
        return rate_factor(step, steps, self.options.warmup, self.options.small_steps)

    def sampler_state(self) -> dict[str, Any]:
        version, internal, gauss = self.chance.getstate()
        return {
            "chance": [version, list(internal), gauss],
            "seconds": time.monotonic() - self.started,
            "held_out_locales": self.corpus.held_out,
        }

    def set_sampler_state(self, state: dict[str, Any]) -> None:
        version, internal, gauss = state["chance"]
        self.chance.setstate((version, tuple(internal), gauss))
        self.started = time.monotonic() - state["seconds"]

    def write(self, about: dict[str, Any]) -> None:
        run: Path = self.options.run
        done = {
            "steps": about["step"],
            "seconds": round(time.monotonic() - self.started),
            "held_out_locales": self.corpus.held_out,
        }
        checkpoint.save(
            run / "checkpoint",
            self.model,
            self.tokenizer,
            languages=self.corpus.captions.locales,
            training={
                "data": "emoji–CLDR",
                "families": list(TRAIN_FAMILIES),
                "stages": {**self.before, self.options.stage: done},
                "revision": self.revision,
            },
        )


@dataclass(frozen=True)
class Pairs:
    """Augmented drawings, each with a caption of its concept."""

    pixels: Tensor  # float32 [N, size, size, 3] in 0…255
    captions: list[list[int]]
    label: Tensor  # int64 [N]


class ContrastiveStage(MiniStage[Pairs]):
    """Both towers learn together: images, captions and one proxy per concept."""

    learned: ContrastiveModules

    def __init__(self, options: argparse.Namespace, *arguments: Any) -> None:
        super().__init__(options, *arguments)
        captions = self.corpus.captions
        self.drawings_of = self.corpus.drawings_of()
        concepts = range(len(captions.of_label))
        self.trained = [c for c in concepts if captions.of_label[c] and self.drawings_of[c]]
        dim = self.model.architecture.dim
        proxies = torch.randn(len(concepts), dim, device=self.device.torch_device)
        self.learned = ContrastiveModules(self.model, proxies).to(self.device.torch_device)
        self.rows = options.concepts * options.drawings
        self.noise = torch.Generator().manual_seed(options.seed)
        self.last: tuple[Tensor, Tensor, Tensor] | None = None

    def parameter_groups(self, settings: Settings) -> list[dict[str, Any]]:
        options, learned = self.options, self.learned
        return [
            *tower_groups(learned.text, options.lr_text, TEXT_DECAY),
            *tower_groups(learned.vision, options.lr_vision, VISION_DECAY),
            _group([learned.proxies], PROXY_RATE, 0.0),
            _group([learned.scale.log_scale], SCALE_RATE, 0.0),
        ]

    def draw(self, step: int) -> Pairs:
        options, captions, chance = self.options, self.corpus.captions, self.chance
        drawn = chance.sample(self.trained, options.concepts)
        labels = [concept for concept in drawn for _ in range(options.drawings)]
        picked = [
            row for c in drawn for row in data.draw_images(self.drawings_of[c], options.drawings, chance)
        ]
        size = options.small_size if step < options.small_steps else self.model.config.vision.size
        pixels = data.augment(self.corpus.drawings.pixels[picked], self.noise, size)
        rows = [chance.choice(captions.of_label[concept]) for concept in labels]
        texts = [data.draw_caption(captions, row, chance) for row in rows]
        return Pairs(pixels, texts, torch.tensor(labels))

    def loss(self, batch: Pairs) -> Tensor:
        label = batch.label.to(self.device.torch_device)
        with self.device.autocast():
            image = self.learned.vision(batch.pixels.to(self.device.torch_device))
            text = self.encode_captions(batch.captions)
        scale, proxies = self.learned.scale(), self.learned.proxies
        self.last = image.detach(), text.detach(), label
        return (
            losses.contrastive(image, text, label, scale)
            + losses.supervised_contrastive(image, label, IMAGE_SCALE)
            + losses.proxy_softmax(image, proxies, label, IMAGE_SCALE)
            + losses.proxy_softmax(text, proxies, label, scale)
        )

    def after_step(self) -> None:
        self.learned.scale.clamp()

    def measure(self) -> dict[str, float]:
        """Of the last batch: the share of images whose nearest caption is of their concept."""
        found = {"scale": self.learned.scale().item()}
        if self.last is not None:
            image, text, label = self.last
            found["image_right"] = share_right(image @ text.T, label, label)
        return found

    def sampler_state(self) -> dict[str, Any]:
        return {**super().sampler_state(), "noise": self.noise.get_state()}

    def set_sampler_state(self, state: dict[str, Any]) -> None:
        super().set_sampler_state(state)
        self.noise.set_state(state["noise"])

    def write(self, about: dict[str, Any]) -> None:
        self.model.set_scale(self.learned.scale().item())
        super().write(about)


@dataclass(frozen=True)
class Captions:
    """Captions as token ids, each with its concept."""

    texts: list[list[int]]
    label: Tensor  # int64 [N]


class TeacherStage(MiniStage[Captions]):
    """The text tower learns the frozen vision tower's mean vectors of all concepts."""

    learned: TextTower

    def __init__(self, options: argparse.Namespace, *arguments: Any) -> None:
        super().__init__(options, *arguments)
        self.model.vision.requires_grad_(False).eval()
        self.targets = teacher_targets(
            self.model, self.corpus.drawings, len(self.corpus.captions.of_label), self.device.torch_device
        )
        with torch.no_grad():
            self.model.text.get_parameter("memory.vectors").copy_(self.targets)
        self.learned = self.model.text
        self.scale = self.model.architecture.text.memory_scale
        self.rows = options.teacher_captions
        self.last: tuple[Tensor, Tensor] | None = None

    def parameter_groups(self, settings: Settings) -> list[dict[str, Any]]:
        return tower_groups(self.learned, self.options.lr_text, TEXT_DECAY)

    def draw(self, step: int) -> Captions:
        captions = self.corpus.captions
        rows = data.rows_of_step(len(captions.names), self.options.teacher_captions, step, self.options.seed)
        texts = [data.draw_caption(captions, row, self.chance) for row in rows]
        return Captions(texts, torch.tensor([captions.label[row] for row in rows]))

    def loss(self, batch: Captions) -> Tensor:
        label = batch.label.to(self.device.torch_device)
        with self.device.autocast():
            text = self.encode_captions(batch.texts)
        self.last = text.detach(), label
        return losses.proxy_softmax(text, self.targets, label, self.scale)

    def measure(self) -> dict[str, float]:
        """Of the last batch: the share of captions whose nearest concept is their own."""
        if self.last is None:
            return {}
        text, label = self.last
        concepts = torch.arange(len(self.targets), device=label.device)
        return {"text_right": share_right(text @ self.targets.T, label, concepts)}


def tower_groups(tower: nn.Module, rate: float, decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices, none for gains and biases; word embeddings, most of whose rows a step does
    not touch, go at twice the rate."""
    named = [(name, p) for name, p in tower.named_parameters() if p.requires_grad]
    words = [p for name, p in named if "word_embeddings" in name]
    matrices = [p for name, p in named if p.ndim > 1 and "word_embeddings" not in name]
    vectors = [p for _, p in named if p.ndim <= 1]
    groups = [_group(words, 2 * rate, decay), _group(matrices, rate, decay), _group(vectors, rate, 0.0)]
    return [group for group in groups if group["params"]]


def _group(parameters: list[nn.Parameter], peak: float, decay: float) -> dict[str, Any]:
    return {"params": parameters, "peak": peak, "lr": peak, "weight_decay": decay}


def rate_factor(step: int, steps: int, warmup: int, small_steps: int) -> float:
    """Factor of the peak rate: warm-up, then a cosine down to 1 %; at full size, again from half the peak.

    What the small images taught does not carry over to full size by itself: a rate that has run down when the
    size changes leaves the tower unable to adapt.
    """
    if step >= small_steps > 0:
        return 0.5 * rate_factor(step - small_steps, steps - small_steps, warmup // 4, 0)
    if step < warmup:  # which may be longer than a short run
        return (step + 1) / warmup
    return optimisation.rate_factor(step, steps=small_steps or steps, warmup=warmup, floor=0.01)


@torch.no_grad()
def teacher_targets(
    model: DualEncoder, drawings: data.Drawings, concepts: int, device: torch.device
) -> Tensor:
    """[concepts, dim]: the mean embedding of each concept's drawings, by the vision tower as it is."""
    model.vision.eval()
    total: Tensor | None = None
    for start in range(0, len(drawings.label), BATCH):
        part = slice(start, start + BATCH)
        vectors = model.vision(drawings.pixels[part].to(device))
        if total is None:
            total = torch.zeros(concepts, vectors.shape[1], device=device)
        total.index_add_(0, drawings.label[part].to(device), vectors)
    assert total is not None, "there are no drawings"
    return F.normalize(total, dim=-1)


def share_right(scores: Tensor, label: Tensor, columns: Tensor) -> float:
    """Share of rows whose largest score is in a column of their label; scores [N, C], labels [N] and [C]."""
    return columns[scores.argmax(1)].eq(label).float().mean().item()
