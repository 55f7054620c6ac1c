"""Reference preprocessing of the vision tower: encoded image bytes → uint8 pixels [size, size, 3].

Training and the export's gate call this file, and serving either this or its faster twin
`handlers.preprocess.fast`, which the gate compares with it. It needs Pillow and numpy, not torch.

The steps: upright by the EXIF orientation → RGB (alpha over white) → a square of `size`, by Pillow's
antialiased filters, as the model's `Resize` says. Embedded colour profiles are ignored, as everywhere in CLIP
training.

`bicubic`, of CLIP and its kin, and `bilinear`, of MobileCLIP: shortest side to `size`, then the centre. The
geometry is that of torchvision's `Resize(size)` followed by `CenterCrop(size)`: the long side becomes
`int(size * long / short)` and the crop starts at `round((long - size) / 2)`. `squash-bicubic` and
`squash-bilinear`, of SigLIP and SigLIP 2: the whole image to a square, whatever its proportions.
`longest-bicubic` and `longest-bilinear`, of open_clip's resize mode `longest`: longest side to `size`, and
black on both sides of the other.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handlers.preprocess.image_files import decoded

Pixels = NDArray[np.uint8]
Resize = Literal[
    "bicubic", "bilinear", "squash-bicubic", "squash-bilinear", "longest-bicubic", "longest-bilinear"
]
"""How an image becomes a square; meta.json of an archive names it."""
RESIZES: tuple[Resize, ...] = get_args(Resize)

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(
    data: bytes, *, size: int, resize: Resize = "bicubic", max_pixels: int, max_bytes: int
) -> Pixels:
    """Encoded image bytes → uint8 [size, size, 3], RGB, row by row from the top left of the upright image.

    Of an animation or a document the first frame counts. The pixel count is read from the header, before
    anything is decoded. A JPEG of more than `max_pixels`, and no other, is decoded at a reduced size where
    enough of it is left: see `handlers.preprocess.jpeg`.

    Raises:
        ImageError: `empty_item`, `image_too_many_bytes`, `image_too_large`, `image_truncated` or
            `image_undecodable`.
    """
    with decoded(data, size=size, max_pixels=max_pixels, max_bytes=max_bytes) as image:
        return to_pixels(image, size=size, resize=resize)


def to_pixels(image: Image.Image, *, size: int, resize: Resize = "bicubic") -> Pixels:
    """A decoded image of any mode → uint8 [size, size, 3]; the part of `decode_image` after decoding.

    Raises:
        ValueError: Pillow has no conversion from the image's mode to RGB.
    """
    return to_square(upright_rgb(image), size, resize)


def upright_rgb(image: Image.Image) -> Image.Image:
    """A decoded image of any mode → RGB, turned as its EXIF orientation says, alpha over white.

    Raises:
        ValueError: Pillow has no conversion from the image's mode to RGB.
    """
    return _to_rgb(_upright(image))


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # Broken metadata is no reason to refuse sound pixels.
        return image
    operation = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if operation is None else image.transpose(operation)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode == "F" or image.mode.startswith("I;16"):
        image = Image.fromarray(_to_8_bits(np.asarray(image), sixteen=image.mode.startswith("I;16")))
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(values: NDArray[np.generic], *, sixteen: bool) -> Pixels:
    """Grey values wider than a byte → uint8 [height, width].

    A 16-bit image has a fixed range. Wider integers and floats have none, so their range is the smallest
    usual one that holds them (0–1 for floats, 0–255, 0–65535), else their own minimum to maximum.
    """
    grey = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = 0.0, 65535.0
    if not sixteen:
        least, most = float(grey.min()), float(grey.max())
        usual = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
        high = next((top for top in usual if least >= 0 and most <= top), most)
        if least < 0 or most > 65535.0:
            low = least
    span = max(high - low, 1e-30)
    scaled: Pixels = np.rint((grey - low) * (255.0 / span)).clip(0, 255).astype(np.uint8)
    return scaled


def to_square(image: Image.Image, size: int, resize: Resize) -> Pixels:
    """RGB of any size → uint8 [size, size, 3]."""
    filter_ = Image.Resampling.BICUBIC if resize.endswith("bicubic") else Image.Resampling.BILINEAR
    if resize.startswith("squash"):
        return np.array(image.resize((size, image.height), filter_).resize((size, size), filter_))
    if resize.startswith("longest"):
        width, height = fitted_sides(image.width, image.height, size)
        fitted = image.resize((width, image.height), filter_).resize((width, height), filter_)
        return centred(np.asarray(fitted), size)
    return _resize_and_crop(image, size, filter_)


def fitted_sides(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height of an image whose longest side becomes `size`; none is less than a pixel."""
    ratio = max(width / size, height / size)
    return max(round(width / ratio), 1), max(round(height / ratio), 1)


def centred(pixels: Pixels, size: int) -> Pixels:
    """uint8 [height, width, 3], no side longer than `size` → [size, size, 3], black around it."""
    height, width = pixels.shape[:2]
    top, left = (size - height) // 2, (size - width) // 2
    square: Pixels = np.zeros((size, size, 3), np.uint8)
    square[top : top + height, left : left + width] = pixels
    return square


def _resize_and_crop(image: Image.Image, size: int, filter_: Image.Resampling) -> Pixels:
    """Shortest side to `size`, then the centre.

    Only what the centre crop shows is resampled, so a 1×60,000 strip costs as little as a square.

    Equal to resizing the whole image and cropping: Pillow's `box` takes its neighbours from outside the
    box too, and the window kept around it is wider than the bicubic kernel. Across first, then down, in two
    calls: newer Pillow versions order the two passes by the image's shape, and each pass rounds and clips.
    """
    window: list[tuple[int, int]] = []
    box: list[tuple[float, float]] = []
    short = min(image.width, image.height)
    for side in image.size:
        resized = int(size * side / short) if side != short else size
        scale = side / resized
        start = round((resized - size) / 2) * scale
        end = start + size * scale
        reach = 2 * math.ceil(2 * max(scale, 1.0))
        first = max(0, math.floor(start) - reach)
        last = min(side, math.ceil(end) + reach)
        window.append((first, last))
        box.append((start - first, min(end - first, last - first)))
    (left, right), (top, bottom) = window
    if (left, top, right, bottom) != (0, 0, *image.size):
        image = image.crop((left, top, right, bottom))
    (x0, x1), (y0, y1) = box
    height = image.height
    image = image.resize((size, height), filter_, box=(x0, 0, x1, height))
    return np.array(image.resize((size, size), filter_, box=(0, y0, size, y1)))
