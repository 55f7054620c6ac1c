"""How far serving may shortcut the decoding of JPEGs without changing what the vision tower sees.

A JPEG decoded at 1/2, 1/4 or 1/8 of its size costs a fraction, and is blurred a little differently from one
that was resized. What must be left for the resize is measured here for each model: the smallest multiple of
the tower's input size at which photographs, resized so that exactly that much is left, keep their vectors.
"""

import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from export import golden
from handlers import limits
from handlers.preprocess.fast import decode_fast
from handlers.preprocess.reference import Pixels, decode_image
from models.checkpoint import Checkpoint

CANDIDATES = (1.0, 1.25, 1.5, 2.0, 0.0)  # multiples of the input size; 0 decodes every JPEG in full
MIN_COSINE, MEAN_COSINE = 0.995, 0.999
BATCH = 4  # images of a pass: enough for the cores, little memory for the activations of a large tower


class DecodingError(Exception):
    """Serving's decoding changes this tower's vectors even at full size."""


@dataclass(frozen=True)
class Report:
    reduction: float
    images: int
    min_cosine: float
    mean_cosine: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        scale = (
            f"reduced to at least {self.reduction:g} × the input size" if self.reduction else "at full size"
        )
        return (
            f"JPEGs decoded {scale}: min cosine {self.min_cosine:.6f}, mean {self.mean_cosine:.6f} "
            f"over {self.images} images"
        )


def at_the_limit(size: int, reduction: float) -> list[bytes]:
    """Photographs of just the sizes at which 1/2, 1/4 or 1/8 leaves `reduction` × `size` pixels."""
    found = []
    for data in golden.photographs().values():
        image = Image.open(io.BytesIO(data))
        for scale in (2, 4, 8):
            # A multiple of 8 in both directions, as reduction needs; never larger than the photograph is.
            short = 8 * round(scale * reduction * size / 8)
            if scale * reduction * size <= short <= min(image.size):
                long = 8 * round(max(image.size) * short / min(image.size) / 8)
                sides = (long, short) if image.width >= image.height else (short, long)
                resized = image.resize(sides, Image.Resampling.BICUBIC)
                found.append(golden.encode(resized, "JPEG", quality=90))
    return found


def measure(loaded: Checkpoint, reduction: float) -> Report:
    """What serving's decoding does to vectors: of photographs at the limit and of all golden images.

    Only pixels that differ are embedded; of most images none do.
    """
    vision = loaded.model.config.vision
    reference = partial(
        decode_image,
        size=vision.size,
        resize=vision.resize,
        max_pixels=limits.MAX_PIXELS,
        max_bytes=limits.MAX_IMAGE_BYTES,
    )
    fast = partial(
        decode_fast,
        size=vision.size,
        resize=vision.resize,
        reduction=reduction,
        max_pixels=limits.MAX_PIXELS,
        max_bytes=limits.MAX_IMAGE_BYTES,
    )
    images = [*at_the_limit(vision.size, reduction or 1.0), *golden.images().values()]
    pairs = [(reference(data), fast(data)) for data in images]
    differing = [pair for pair in pairs if not np.array_equal(*pair)]
    cosine = np.ones(len(images))
    if differing:
        exact, shortened = (_embed(loaded, pixels) for pixels in zip(*differing, strict=True))
        cosine[: len(differing)] = (exact * shortened).sum(1)
    return Report(reduction, len(images), float(cosine.min()), float(cosine.mean()))


@torch.inference_mode()
def _embed(loaded: Checkpoint, images: Iterable[Pixels]) -> NDArray[np.float32]:
    batches = torch.split(torch.from_numpy(np.stack(list(images))), BATCH)
    return np.concatenate([loaded.model.vision(batch).numpy() for batch in batches])


def choose(loaded: Checkpoint) -> Report:
    """The cheapest decoding that keeps this tower's vectors: cosine ≥ 0.995 each, ≥ 0.999 in the mean.

    Raises:
        DecodingError: not even decoding in full does.
    """
    for reduction in CANDIDATES:
        report = measure(loaded, reduction)
        if report.min_cosine >= MIN_COSINE and report.mean_cosine >= MEAN_COSINE:
            return report
    raise DecodingError(
        f"{report.sentence()}; at least {MIN_COSINE} and {MEAN_COSINE} are needed. Not written."
    )
