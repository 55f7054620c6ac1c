"""Contrastive training of a dual encoder on captioned images, from any model that `python -m export` takes.

    python -m training.stages.contrastive runs/stage1/model --train text \\
        --data captions.json --images train2017 --out runs/stage2

What learns is said by --train:

    text     the text tower, against frozen images: AltCLIP's second stage, and LiT's (Zhai et al. 2022). Each
             image goes through its tower once; the vectors are kept in the run's folder
    both     all of both towers: CLIP's and OpenCLIP's own training
    heads    only what leads from each tower into the common space: how a dual encoder of a vision and a text
             model that never met is trained (VisionTextDualEncoder)

Frozen modules are in evaluation mode. `OUT/model` is the trained model in the form of the one it started
from, and can be exported.

On several devices: torchrun --nproc-per-node 8 -m training.stages.contrastive …; negatives come from all of
them.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models import outputs
from models.checkpoint import Checkpoint, CheckpointError
from models.dual_encoder import DualEncoder
from models.loaders import registry
from models.revision import revision
from training import distributed, frozen_vectors, losses
from training.by_length import by_length
from training.datasets import captioned, loading, splitting
from training.datasets.decoding import BrokenImage, decode, read_whole
from training.datasets.examples import Examples
from training.datasets.order import Order, chance
from training.datasets.rows import DataError
from training.devices import Device
from training.evaluation import metrics
from training.loop import RunError, Stage
from training.stages import options as stage_options
from training.stages.distillation import freeze_unused

MEASURED = 5000  # held-out pairs among which is searched, as many as COCO's usual test set has
LOSSES = ("softmax", "sigmoid")
MAX_BROKEN_SHARE = 0.01
SHOWN_BROKEN = 10  # broken images that are named; the others are counted


@dataclass(frozen=True)
class Pairs:
    """Rows of a batch: pixels or, of a frozen tower, vectors; captions; and which row of the data each is."""

    images: Tensor  # uint8 [B, size, size, 3] or float32 [B, dim]
    captions: list[str]
    index: Tensor  # int64 [B]


class Scale(nn.Module):
    """The learned scale of cosines, and the sigmoid loss's summand."""

    def __init__(self, scale: float, bias: float | None) -> None:
        super().__init__()
        self.scale = losses.LogitScale(scale)
        if bias is not None:
            self.bias = losses.LogitBias(bias)

    def forward(self) -> tuple[Tensor, Tensor | None]:
        """Scalars."""
        return self.scale(), self.bias() if hasattr(self, "bias") else None


class ContrastiveStage(Stage[Pairs]):
    """See the module."""

    learned: nn.ModuleDict

    def __init__(self, options: argparse.Namespace, device: Device, start: Checkpoint) -> None:
        self.options, self.device, self.start = options, device, start
        model = start.model
        model.requires_grad_(False).eval().to(device.torch_device)
        examples = captioned.read(options)
        if examples.left_out.counts and distributed.rank() == 0:
            print(examples.left_out, flush=True)
        self.examples, held_out = splitting.split(examples, share=options.held_out, seed=options.seed)
        self.measured = held_out.take(np.random.default_rng(0).permutation(len(held_out))[:MEASURED])
        self._check_counts()
        world = distributed.world_size()
        self.fixed = {
            "stage": "contrastive",
            "from": start.meta["space"],
            "images": len(self.examples),
            **{name: getattr(options, name) for name in ("train", "loss", "epochs", "batch", "accumulate")},
            **{name: getattr(options, name) for name in ("lr", "seed")},
            "processes": world,
        }
        self.revision = revision()
        self.rows = options.batch * world
        self.tokens = stage_options.tokens_of(start)
        bias = None
        if options.loss == "sigmoid":
            known = model.logit_bias
            bias = losses.SIGMOID_BIAS if known is None else known.item()
        self.scale = Scale(options.scale or float(start.meta["logit_scale"]), bias)
        self.scale.to(device.torch_device)
        self._prepare(model)
        self._check_counts()  # Again, without those that turned out to be broken.
        order = Order(
            len(self.examples),
            options.batch,
            seed=options.seed,
            rank=distributed.rank(),
            world=world,
            drop_last=True,
        )
        self.order, self.in_epoch = order, order.steps

    def _check_counts(self) -> None:
        for part, name, least in (
            (self.examples, "to train on", self.options.batch * distributed.world_size()),
            (self.measured, "held out", 2),
        ):
            if len(part) < least:
                raise RunError(
                    f"{len(part)} images {name}, and {least} are needed: a smaller --batch, another "
                    "--held-out, or more images"
                )

    def _prepare(self, model: DualEncoder) -> None:
        """Say what learns, and make ready what does not."""
        device, size = self.device.torch_device, self.start.model.config.vision.size
        ids_mask = [part.to(device) for part in self.tokens(["a", "b c"])]
        pixels = torch.zeros(2, size, size, 3, dtype=torch.uint8, device=device)
        self.vectors: Any = None
        self.text: nn.Module
        self.vision: nn.Module
        learned = nn.ModuleDict({"scale": self.scale})
        if self.options.train == "heads":
            for name in ("text", "vision"):
                tower = model.tower(name)
                if not list(tower.projection.parameters()):
                    raise RunError(
                        f"the {name} tower of this model has no head of its own: --train text or both"
                    )
                learned[name] = tower.projection.requires_grad_(True)
                tower.projection = distributed.replicated(tower.projection)
            self.text, self.vision = by_length(model.text, self.device.kind), model.vision
        else:
            learned["text"] = model.text.requires_grad_(True)
            freeze_unused(model.text, *ids_mask)
            self.text = distributed.replicated(by_length(model.text, self.device.kind))
            self.vision = model.vision
            if self.options.train == "both":
                learned["vision"] = model.vision.requires_grad_(True)
                freeze_unused(model.vision, pixels)
                self.vision = distributed.replicated(model.vision)
            else:
                self.examples, trained = self._image_vectors(model.vision, self.examples, "images")
                self.measured, measured = self._image_vectors(model.vision, self.measured, "measured")
                self.vectors = (trained, measured)
        self.learned = learned
        self.device.compile(model.text)
        self.device.compile(model.vision)
        self.scale_module = distributed.replicated(self.scale)

    def _image_vectors(self, tower: nn.Module, part: Examples, name: str) -> tuple[Examples, Any]:
        """The images that could be decoded, and the frozen tower's vectors of them, float32 [N, dim]."""
        vision, dim = self.start.model.config.vision, int(self.start.meta["dim"])
        most, met = int(MAX_BROKEN_SHARE * len(part)), 0

        def too_many(count: str) -> RunError:
            return RunError(
                f"{count} of {len(part):,} images are broken, and at most {MAX_BROKEN_SHARE:.0%} may be"
            )

        def embed(rows: range) -> Tensor:
            nonlocal met
            pixels = torch.zeros(len(rows), vision.size, vision.size, 3, dtype=torch.uint8)
            broken = []
            for i, row in enumerate(rows):
                try:
                    data = read_whole(part[row])
                    pixels[i] = torch.from_numpy(decode(data, size=vision.size, resize=vision.resize))
                except BrokenImage as error:
                    met += 1
                    if met <= SHOWN_BROKEN:
                        print(f"{part[row].image}: {error.sentence}", file=sys.stderr, flush=True)
                    if met > most:  # Hours before all have been looked at.
                        raise too_many(f"{met:,} or more") from error
                    broken.append(i)
            with self.device.autocast():
                found: Tensor = tower(pixels.to(self.device.torch_device)).float()
            found[broken] = 0  # No vector of an image has this length.
            return found

        digest = frozen_vectors.digest_of(self.start.meta["space"], (example.key for example in part))
        vectors = frozen_vectors.vectors(self.options.out / f"{name}-{digest}.npy", len(part), dim, embed)
        whole = np.flatnonzero(np.abs(vectors).max(axis=1) > 0)
        broken = len(part) - len(whole)
        if broken > most:
            raise too_many(f"{broken:,}")
        if broken and distributed.rank() == 0:
            print(f"{broken:,} of {len(part):,} images are left out, because they are broken", flush=True)
        return part.take(whole), vectors if len(whole) == len(part) else vectors[whole]

    def batches(self, epoch: int, first: int) -> Iterator[Pairs]:
        if self.vectors is not None:
            for draws in self.order.of_epoch(epoch, first=first):
                rows = [draw.index for draw in draws]
                captions = [
                    chance(self.options.seed, draw, "caption").choice(self.examples[draw.index].captions)
                    for draw in draws
                ]
                vectors = torch.from_numpy(np.array(self.vectors[0][rows]))
                yield Pairs(vectors, captions, torch.tensor(rows))
            return
        loader = self._loader(self.examples, distributed.world_size())
        for batch in loader.batches(epoch=epoch, step=first, until=epoch + 1):
            yield Pairs(batch.pixels, batch.captions, batch.index)
        if loader.broken and distributed.rank() == 0:
            print(loader.report(), flush=True)

    def _loader(self, part: Examples, world: int) -> loading.Loader:
        """Of one process among `world` that share the part; with 1 each has all of it."""
        return loading.decoded(
            part,
            self.start.model.config.vision.size,
            resize=self.start.model.config.vision.resize,
            batch=self.options.batch,
            workers=self.options.workers,
            seed=self.options.seed,
            rank=distributed.rank() if world > 1 else 0,
            world=world,
            drop_last=world > 1 or part is self.examples,
        )

    def loss(self, batch: Pairs) -> Tensor:
        image, text = self._embed(batch)
        captions = torch.tensor([losses.label_of(caption) for caption in batch.captions])
        label = torch.stack([batch.index, captions], dim=1).to(self.device.torch_device)
        scale, bias = self.scale_module()
        if bias is not None:
            return losses.sigmoid(image, text, label, scale, bias)
        return losses.contrastive(image, text, label, scale)

    def after_step(self) -> None:
        if self.options.loss == "softmax":  # SigLIP's scale has no limit; that of SigLIP 2 is above 100.
            self.scale.scale.clamp()

    def _embed(self, batch: Pairs) -> tuple[Tensor, Tensor]:
        """image, text float32 [B, dim]."""
        device = self.device.torch_device
        ids, mask = self.tokens(batch.captions)
        with self.device.autocast():
            image = (
                batch.images.to(device) if self.vectors is not None else self.vision(batch.images.to(device))
            )
            text = self.text(ids.to(device), mask.to(device))
        return image, text

    def measure(self) -> dict[str, float]:
        """Recall@1 both ways among held-out pairs: each image with one of its captions, always the same."""
        images, texts, captions = list[Tensor](), list[Tensor](), list[str]()
        for batch in self._measured_batches():
            for parts, found in zip((images, texts), self._embed(batch), strict=True):
                parts.append(found.cpu())
            captions += batch.captions
        image, text = torch.cat(images), torch.cat(texts)
        label = torch.tensor([losses.label_of(caption) for caption in captions])
        recalls = {
            "image_retrieval_recall@1": metrics.recall_at_1(text, image, label),
            "text_retrieval_recall@1": metrics.recall_at_1(image, text, label),
        }
        scale, bias = self.scale_module()
        learned = {"scale": scale.item()} if bias is None else {"scale": scale.item(), "bias": bias.item()}
        return {**recalls, **learned, "score": sum(recalls.values()) / 2}

    def _measured_batches(self) -> Iterator[Pairs]:
        if self.vectors is None:
            for batch in self._loader(self.measured, world=1).batches(until=1):
                yield Pairs(batch.pixels, batch.captions, batch.index)
            return
        for start in range(0, len(self.measured), self.options.batch):
            part = self.measured[start : start + self.options.batch]
            captions = [e.captions[losses.label_of(e.key) % len(e.captions)] for e in part]
            vectors = np.array(self.vectors[1][start : start + len(part)])
            yield Pairs(torch.from_numpy(vectors), captions, torch.arange(start, start + len(part)))

    def write(self, about: dict[str, Any]) -> None:
        heads = ("text", "vision") if self.options.train == "heads" else ()
        replicas = {name: self.start.model.tower(name).projection for name in heads}
        for name in heads:  # Written by the names that they have alone.
            self.start.model.tower(name).projection = self.learned[name]
        registry.save(
            self.start,
            self.options.out / "model",
            scale=about["scale"],
            bias=about.get("bias"),
            about={**about, "revision": self.revision},
        )
        for name, replica in replicas.items():
            self.start.model.tower(name).projection = replica


def make(options: argparse.Namespace, device: Device) -> ContrastiveStage:
    """Load the model and the data.

    Raises:
        CheckpointError, DataError, RunError: what is wrong, in a sentence.
    """
    if options.scale is not None and not options.scale > 0:
        raise RunError(f"--scale must be above 0, not {options.scale}")
    start = registry.load(registry.locate(options.source))
    if start.write is None:
        raise RunError("a model of several sources is not written; heads are trained by `python -m training`")
    if options.loss == "sigmoid" and options.scale is None and start.model.logit_bias is None:
        options.scale = losses.SIGMOID_SCALE
    return ContrastiveStage(options, device, start)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.stages.contrastive",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help="the model to start from")
    parser.add_argument("--train", choices=("text", "both", "heads"), default="both", help="what learns")
    parser.add_argument("--loss", choices=LOSSES, default="softmax", help="CLIP's, or SigLIP's")
    scale = "of cosines at the start; default: the model's, or 10 for a sigmoid that it was not trained with"
    parser.add_argument("--scale", type=float, help=scale)
    captioned.add(parser)
    stage_options.add(parser, batch=128, lr=5e-5, decay=0.2)
    options = parser.parse_args(arguments)
    outputs.check("training.stages.contrastive", "--out", options.out)
    try:
        stage_options.launch(options, make)
    except (CheckpointError, DataError, RunError) as error:
        sys.exit(f"training.stages.contrastive: {error}")


if __name__ == "__main__":
    main()
