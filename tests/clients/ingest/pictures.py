"""Small pictures for the tests, each unlike the others."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(seed: int = 0, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A smooth RGB picture that no other seed gives."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """The image as a file of the given format."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def fill(folder: Path, count: int, first: int = 0) -> list[Path]:
    """`count` JPEGs below a folder, some of them in folders of their own."""
    made = []
    for seed in range(first, first + count):
        path = folder / f"{seed % 3}" / f"{seed:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(seed)))
        made.append(path)
    return made
