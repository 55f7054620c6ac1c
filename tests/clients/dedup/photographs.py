"""Rows of an index for the tests: pictures of which each is unlike the others, and what becomes of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from babelclip.index import Index, Row, Settings, create_index, row_id
from babelclip.ingest.images import describe_image

DIM = 16
SPACE = "a space"


def picture(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A smooth RGB picture that no other seed gives."""
    blocks = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, quality: int = 90) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def vector(seed: int, near: int | None = None, cosine: float = 0.0) -> Any:
    """float32 [DIM] of length 1; with `near`, of this cosine with the vector of that seed."""
    own = np.random.default_rng([7, seed]).normal(size=DIM)
    if near is not None:
        other = vector(near).astype(np.float64)
        own -= (own @ other) * other
        own = cosine * other + np.sqrt(1 - cosine**2) * own / np.linalg.norm(own)
    return (own / np.linalg.norm(own)).astype(np.float32)


def row(source: str, data: bytes, vector: Any, **more: Any) -> Row:
    """As adding a file to an index makes it."""
    details = describe_image(data)
    described = {
        "size": len(data),
        "width": details.width,
        "height": details.height,
        "taken": details.taken,
        "thumbnail": details.thumbnail,
        "perceptual_hash": details.perceptual_hash,
        "checksum": details.checksum,
    }
    return Row(id=row_id(source), source=source, vector=vector, **{**described, **more})


def make_index(folder: Path, rows: Sequence[Row], **fields: str) -> Index:
    index = create_index(folder / "index", Settings(space=SPACE, dim=DIM, fields=fields))
    index.upsert(rows, space=SPACE)
    return index
