"""The preprocessing of `handlers.preprocess.reference` at a fraction of its cost, for serving.

Same checks, same geometry, same errors; two steps differ. A JPEG may be decoded at 1/2, 1/4 or 1/8 of its
size, which libjpeg does within the inverse cosine transform; how much of the resolution must be left is
measured at export for each model (`reduction`). And torch resizes: its filters for uint8 are Pillow's,
vectorised, and some of their values differ by one level of 255.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from handlers.preprocess.image_files import decoded
from handlers.preprocess.memory import Memory
from handlers.preprocess.reference import (
    Pixels,
    Resize,
    centred,
    fitted_sides,
    to_square,
    upright_rgb,
)

# Longer images are left to the reference: where it crops, it resizes only the part that is seen.
_LONGEST_PROPORTION = 2.5


def decode_fast(
    data: bytes,
    *,
    size: int,
    resize: Resize = "bicubic",
    max_pixels: int,
    max_bytes: int,
    reduction: float,
    memory: Memory | None = None,
) -> Pixels:
    """As `handlers.preprocess.reference.decode_image`; call it from threads that were prepared by
    `prepare_thread`.

    A JPEG is decoded at the smallest scale that leaves its shortest side at least `reduction` × `size`
    pixels; 0: as the reference does. `memory` is shared by the threads that decode.

    Raises:
        ImageError: as `decode_image`.
    """
    limits = {"size": size, "max_pixels": max_pixels, "max_bytes": max_bytes}
    with decoded(data, **limits, reduction=reduction, memory=memory) as image:
        image = upright_rgb(image)
        if max(image.size) > _LONGEST_PROPORTION * min(image.size):
            return to_square(image, size, resize)
        mode = "bicubic" if resize.endswith("bicubic") else "bilinear"
        if resize.startswith("squash"):
            return _squash(image, size, mode)
        if resize.startswith("longest"):
            width, height = fitted_sides(*image.size, size)
            return centred(_resized(image, height, width, mode=mode).numpy(), size)
        return _resize_and_crop(image, size, mode)


def prepare_thread() -> None:
    """Keep torch from starting threads of its own for each image: the pool is what works in parallel."""
    torch.set_num_threads(1)


def _resize_and_crop(image: Image.Image, size: int, mode: str) -> Pixels:
    short = min(image.size)
    width, height = (size if side == short else int(size * side / short) for side in image.size)
    pixels = _resized(image, height, width, mode=mode)
    top, left = round((height - size) / 2), round((width - size) / 2)
    cropped: Pixels = pixels[top : top + size, left : left + size].contiguous().numpy()
    return cropped


def _squash(image: Image.Image, size: int, mode: str) -> Pixels:
    square: Pixels = _resized(image, size, size, mode=mode).contiguous().numpy()
    return square


def _resized(image: Image.Image, height: int, width: int, *, mode: str) -> torch.Tensor:
    """uint8 [height, width, 3]."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]  # [1, 3, H, W], channels last
    if (height, width) != pixels.shape[2:]:
        pixels = torch.nn.functional.interpolate(pixels, (height, width), mode=mode, antialias=True)
    return pixels[0].permute(1, 2, 0)
