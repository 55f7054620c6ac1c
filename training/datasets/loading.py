"""Batches of decoded images with one caption each, by worker processes, exactly resumable.

    loader = decoded(dataset, size=224, batch=256, workers=8, seed=1, rank=rank, world=world)
    for batch in loader.batches(epoch=2, step=120):  # goes on where a run stopped
        ...

A broken image is replaced by another of the data set, so that batches keep their shape, and counted by
reason; more than a set share of them ends the run.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from handlers.preprocess import Resize
from training.datasets.decoding import MAX_BYTES, MAX_PIXELS, BrokenImage, decode, read_whole
from training.datasets.examples import Example
from training.datasets.order import Draw, Order, chance
from training.datasets.rows import SHOWN, DataError

REPLACEMENTS = 16  # images tried in place of a broken one
FEW = 1000  # draws before which the share of broken images is taken of this many


@dataclass(frozen=True)
class Decoded:
    """One image and the caption drawn for it; `faults` are (reason, sentence) of those broken before it."""

    pixels: Tensor  # uint8 [size, size, 3]
    caption: str
    language: str | None
    index: int
    faults: list[tuple[str, str]]


@dataclass(frozen=True)
class Batch:
    """B images, each with a caption; the next step is (epoch, step + 1), or (epoch + 1, 0)."""

    pixels: Tensor  # uint8 [B, size, size, 3]
    captions: list[str]
    languages: list[str | None]
    index: Tensor  # int64 [B]: rows of the data set
    faults: list[tuple[str, str]]  # (reason, sentence) of images that were replaced
    epoch: int = -1
    step: int = -1


class DecodedImages(Dataset[Decoded]):
    """The data set of a torch DataLoader, asked by Draw."""

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

    def __getitem__(self, draw: Draw) -> Decoded:
        """The drawn image, or the first whole one of a fixed sequence of others.

        Raises:
            DataError: none of REPLACEMENTS others could be decoded either.
        """
        others = chance(self.seed, draw, "replacement")
        index, faults = draw.index, []
        for _ in range(REPLACEMENTS + 1):
            example = self.examples[index]
            try:
                data = read_whole(example, self.max_bytes)
                limits = {"max_pixels": self.max_pixels, "max_bytes": self.max_bytes}
                pixels = decode(data, size=self.size, resize=self.resize, **limits)
            except BrokenImage as error:
                faults.append((error.reason, f"{example.image}: {error.sentence}"))
                index = others.randrange(len(self.examples))
                continue
            caption = chance(self.seed, draw, "caption").choice(example.captions)
            return Decoded(torch.from_numpy(pixels), caption, example.language, index, faults)
        raise DataError(f"{len(faults)} images drawn one after another are broken; the first: {faults[0][1]}")

    def together(self, images: list[Decoded]) -> Batch:
        """The images of one step, which may be none; the epoch and step are not known here."""
        pixels = torch.zeros(len(images), self.size, self.size, 3, dtype=torch.uint8)
        for row, image in enumerate(images):
            pixels[row] = image.pixels
        return Batch(
            pixels=pixels,
            captions=[image.caption for image in images],
            languages=[image.language for image in images],
            index=torch.tensor([image.index for image in images], dtype=torch.int64),
            faults=[fault for image in images for fault in image.faults],
        )


class Steps(Sampler[list[Draw]]):
    """What one rank draws in every step from (epoch, step) on, through the epochs before `until`."""

    def __init__(self, order: Order, epoch: int, step: int, until: int | None) -> None:
        self.order = order
        self.start = (epoch, step)
        self.until = until

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, first = self.start
        while self.until is None or epoch < self.until:
            yield from self.order.of_epoch(epoch, first=first)
            epoch, first = epoch + 1, 0


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
            DataError: more than the allowed share of images is broken.
            ValueError: there is no such step.
        """
        if epoch < 0 or not 0 <= step < self.order.steps:
            raise ValueError(f"no step {step} in epoch {epoch}: an epoch has {self.order.steps} steps")
        loader = DataLoader(
            self.images,
            batch_sampler=Steps(self.order, epoch, step, until),
            num_workers=self.workers,
            collate_fn=self.images.together,
            generator=torch.Generator(),  # else each iterator would take a number from the run's own
        )
        for batch in loader:
            self._count(batch)
            yield replace(batch, epoch=epoch, step=step)
            step += 1
            if step == self.order.steps:
                epoch, step = epoch + 1, 0

    def report(self) -> str:
        """What was broken so far, for people."""
        lines = [f"{self.broken.total():,} broken of {self.drawn:,} images drawn"]
        for reason, count in self.broken.most_common():
            lines.append(f"{count:,} {reason}")
            lines += [f"  {sentence}" for sentence in self.sentences[reason]]
        return "\n".join(lines)

    def _count(self, batch: Batch) -> None:
        self.drawn += len(batch.captions) + len(batch.faults)
        for reason, sentence in batch.faults:
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
