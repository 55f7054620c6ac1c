"""Pictures for the tests: one motif in every mode, format and orientation."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from handlers.preprocess.reference import Pixels, decode_image

SIZE = 16
PNG = b"\x89PNG\r\n\x1a\n"


def motif(width: int = 48, height: int = 32) -> Image.Image:
    """A smooth RGB picture without any symmetry."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    red, green = 255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1)
    blue = 127 + 100 * np.sin(x / 7) * np.cos(y / 5)
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The image as a file of the given format."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))


def decode(data: bytes, max_pixels: int = 1_000_000, max_bytes: int = 1_000_000) -> Pixels:
    return decode_image(data, size=SIZE, max_pixels=max_pixels, max_bytes=max_bytes)


def difference(one: Pixels, other: Pixels) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())
