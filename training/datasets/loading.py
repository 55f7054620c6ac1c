"""Batches of decoded images with one caption each, by worker processes, exactly resumable.

    loader = decoded(dataset, size=224, batch=256, workers=8, seed=1, rank=rank, world=world)
    for batch in loader.batches(epoch=2, step=120):  # goes on where a run stopped
        ...

A broken image is replaced by another of the data set, so that batches keep their shape, and counted by
reason; more than a set share of them ends the run.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handlers.preprocess.reference import Resize
from training.datasets import processes
from training.datasets.decoding import MAX_BYTES, MAX_PIXELS, BrokenImage, decode, read_whole
from training.datasets.examples import Example
from training.datasets.order import Draw, Order, chance
from training.datasets.rows import SHOWN, DataError

REPLACEMENTS = 16  # images tried in place of a broken one
FEW = 1000  # draws before which the share of broken images is taken of this many

Step = tuple[int, NDArray[np.int64]]  # the epoch, and the rows that are drawn


@dataclass(frozen=True)
class Labels:
    """What belongs to the images of a step; `faults` are (reason, sentence) of those that were replaced."""

    captions: list[str]
    languages: list[str | None]
    index: list[int]
    faults: list[tuple[str, str]]


@dataclass(frozen=True)
class Batch:
    """B images, each with a caption; the next step is (epoch, step + 1), or (epoch + 1, 0)."""

    pixels: Tensor  # uint8 [B, size, size, 3]
    captions: list[str]
    languages: list[str | None]
    index: Tensor  # int64 [B]: rows of the data set
    faults: list[tuple[str, str]]  # (reason, sentence) of images that were replaced
    epoch: int
    step: int


class DecodedImages:
    """What a process that decodes images needs to know."""

    def __init__(
        self,
        examples: Sequence[Example],
        size: int,
        *,
        resize: Resize,
        seed: int,
        max_pixels: int,
        max_bytes: int,
    ) -> None:
        self.examples = examples
        self.size, self.resize = size, resize
        self.seed = seed
        self.max_pixels = max_pixels
        self.max_bytes = max_bytes

    def into(self, step: Step, pixels: NDArray[np.uint8]) -> Labels:
        """Decode the images of a step, which may have none, into the first rows of uint8 [B, size, size, 3].

        Raises:
            DataError: of some row, none of REPLACEMENTS others could be decoded either.
        """
        epoch, rows = step
        labels = Labels([], [], [], [])
        for place, row in enumerate(rows):
            self._one(Draw(epoch, int(row)), pixels[place], labels)
        return labels

    def _one(self, draw: Draw, pixels: NDArray[np.uint8], labels: Labels) -> None:
        """The drawn image, or the first whole one of a fixed sequence of others."""
        others = chance(self.seed, draw, "replacement")
        index, first = draw.index, len(labels.faults)
        for _ in range(REPLACEMENTS + 1):
            example = self.examples[index]
            try:
                data = read_whole(example, self.max_bytes)
                limits = {"max_pixels": self.max_pixels, "max_bytes": self.max_bytes}
                pixels[:] = decode(data, size=self.size, resize=self.resize, **limits)
            except BrokenImage as error:
                labels.faults.append((error.reason, f"{example.image}: {error.sentence}"))
                index = others.randrange(len(self.examples))
                continue
            labels.captions.append(chance(self.seed, draw, "caption").choice(example.captions))
            labels.languages.append(example.language)
            labels.index.append(index)
            return
        raise DataError(
            f"{REPLACEMENTS + 1} images drawn one after another are broken; the first: "
            f"{labels.faults[first][1]}"
        )


class Steps:
    """What one rank draws in every step from (epoch, step) on, through the epochs before `until`."""

    def __init__(self, order: Order, epoch: int, step: int, until: int | None) -> None:
        self.order = order
        self.start = (epoch, step)
        self.until = until
        self.first = order.shuffled(epoch)  # Once, and not in every process.

    def __iter__(self) -> Iterator[Step]:
        epoch, first = self.start
        rows = self.first
        while self.until is None or epoch < self.until:
            for part in self.order.parted(rows, first=first):
                yield epoch, part
            epoch, first = epoch + 1, 0
            rows = self.order.shuffled(epoch)


@dataclass
class Loader:
    """See `decoded`. `broken` counts the broken images met so far, by reason, of `drawn` images."""

    images: DecodedImages
    order: Order
    workers: int
    max_broken_share: float
    drawn: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    sentences: dict[str, list[str]] = field(default_factory=dict)

    def batches(self, *, epoch: int = 0, step: int = 0, until: int | None = None) -> Iterator[Batch]:
        """This rank's batches from a step on, through the epochs before `until`, without end when None.

        Workers live as long as the iterator. Batches are the same for any number of workers, and wherever one
        begins.

        Raises:
            DataError: more than the allowed share of images is broken, or a process that decodes them died.
            ValueError: there is no such step.
        """
        if epoch < 0 or not 0 <= step < self.order.steps:
            raise ValueError(f"no step {step} in epoch {epoch}: an epoch has {self.order.steps} steps")
        for labels, pixels in self._decoded(Steps(self.order, epoch, step, until)):
            self._count(labels)
            yield Batch(
                torch.tensor(pixels[: len(labels.index)]),
                labels.captions,
                labels.languages,
                torch.tensor(labels.index, dtype=torch.int64),
                labels.faults,
                epoch,
                step,
            )
            step += 1
            if step == self.order.steps:
                epoch, step = epoch + 1, 0

    def _decoded(self, steps: Steps) -> Iterator[tuple[Labels, NDArray[np.uint8]]]:
        """The labels of every step, and pixels that are good until the next."""
        shape = (self.order.batch, self.images.size, self.images.size, 3)
        if self.workers:
            yield from processes.ordered(self.images.into, steps, shape, processes=self.workers)
            return
        pixels = np.zeros(shape, np.uint8)
        for step in steps:
            yield self.images.into(step, pixels), pixels

    def report(self) -> str:
        """What was broken so far, for people."""
        lines = [f"{self.broken.total():,} broken of {self.drawn:,} images drawn"]
        for reason, count in self.broken.most_common():
            lines.append(f"{count:,} {reason}")
            lines += [f"  {sentence}" for sentence in self.sentences[reason]]
        return "\n".join(lines)

    def _count(self, labels: Labels) -> None:
        self.drawn += len(labels.captions) + len(labels.faults)
        for reason, sentence in labels.faults:
            self.broken[reason] += 1
            shown = self.sentences.setdefault(reason, [])
            if len(shown) < SHOWN:
                shown.append(sentence)
        least = min(FEW, len(self.images.examples))
        if self.broken.total() > self.max_broken_share * max(self.drawn, least):
            raise DataError(
                f"more than {self.max_broken_share:.2%} of the images are broken, which is the most allowed: "
                f"{self.report()}"
            )


def decoded(
    dataset: Sequence[Example],
    size: int,
    *,
    resize: Resize = "bicubic",
    batch: int,
    workers: int = 4,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    drop_last: bool = False,
    max_broken_share: float = 0.01,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> Loader:
    """A loader of one rank's batches of `batch` images, each uint8 [size, size, 3].

    `seed` decides the order, the captions and the replacements of broken images; it and `batch` × `world`
    must stay the same for a run to be resumed. `workers` processes decode, none with 0. Ranks that must keep
    in step, or need one shape, want `drop_last`.

    Raises:
        ValueError: the data set does not fill a step, or the rank is not below world.
    """
    order = Order(len(dataset), batch, seed=seed, rank=rank, world=world, drop_last=drop_last)
    limits = {"max_pixels": max_pixels, "max_bytes": max_bytes}
    images = DecodedImages(dataset, size, resize=resize, seed=seed, **limits)
    return Loader(images, order, workers, max_broken_share)
