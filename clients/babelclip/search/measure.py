"""A calibration measured from an index itself, on a sample of its rows.

calibration = calibrate_index(index, client)
calibration.save("photographs.index/calibration.json")
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from babelclip.embeddings import Embeddings, Vectors
from babelclip.errors import SpaceMismatch
from babelclip.index.base import Index, Row, Settings
from babelclip.search.calibration import FEWEST, Calibration, calibrate, fit_calibration
from babelclip.search.relevance import SearchCalibration

if TYPE_CHECKING:
    from babelclip.client.sync import Client

SAMPLE = 500
PART = 0.7
"""How much of a picture's width and height a part of it has, which counts as a picture of the same thing."""


def calibrate_index(
    index: Index,
    client: Client,
    *,
    language: str | None = None,
    sample: int = SAMPLE,
    seed: int = 0,
) -> SearchCalibration:
    """What cosines mean in an index: of texts by its captions, and of images by parts of its pictures.

    A caption and its row belong together, a caption and another row do not. So do a part of a row's thumbnail
    and the row: of the same thing, but framed differently. Captions that stand at several rows are left out.

    Args:
        index: whose rows have captions, or thumbnails, or both.
        client: of the model of the index.
        language: that of the captions, as in `Client.embed_texts`.
        sample: rows that are taken of each kind, at least 20.
        seed: chooses them.

    Returns:
        With a curve for texts where 20 rows have a caption, and one for images where 20 have a thumbnail.

    Raises:
        ValueError: there are neither, or `sample` is too small.
        ImportError: there are thumbnails, and Pillow is not installed.
        SpaceMismatch: the client is of another space.
        BabelclipError: as in `Client.embed_texts`.
    """
    if sample < FEWEST:
        raise ValueError(f"sample must be at least {FEWEST}, not {sample}")
    settings = index.settings
    captions, pictures = _chosen(index, sample, random.Random(seed))
    text = _of_texts(index, client, settings, captions, language)
    image = _of_images(index, client, settings, pictures)
    if text is None and image is None:
        raise ValueError(
            f"a calibration needs {FEWEST} rows with a caption of their own, or with a thumbnail: add them to"
            " the index, or give a calibration that was measured elsewhere"
        )
    return SearchCalibration(settings.space, text=text, image=image)


def _chosen(index: Index, sample: int, chance: random.Random) -> tuple[dict[str, str], list[str]]:
    """Captions that stand once and the ids of their rows, and ids of any rows: up to `sample` of each."""
    seen: dict[str, str | None] = {}
    names: list[str] = []
    for part in index.scan(where={"error_code": ""}, columns=("caption",)):
        for row in part:
            names.append(row.id)
            if row.caption:
                seen[row.caption] = None if row.caption in seen else row.id
    own = sorted((caption, name) for caption, name in seen.items() if name is not None)
    names.sort()  # A scan has no order, and the sample is to be the same one again.
    return (
        dict(chance.sample(own, min(sample, len(own)))),
        chance.sample(names, min(sample, len(names))),
    )


def _of_texts(
    index: Index, client: Client, settings: Settings, captions: dict[str, str], language: str | None
) -> Calibration | None:
    rows = {row.id: row for row in index.get(list(captions.values()), columns=("vector",)) if row}
    whole = {caption: rows[name] for caption, name in captions.items() if _has_vector(rows.get(name))}
    if len(whole) < FEWEST:
        return None
    texts = client.embed_texts(whole, language=language, errors="return")
    images = _embeddings(list(whole.values()), settings)
    return calibrate(texts, images) if texts.ok.sum() >= FEWEST else None


def _of_images(index: Index, client: Client, settings: Settings, names: list[str]) -> Calibration | None:
    found = index.get(names, columns=("vector", "thumbnail"))
    rows = [row for row in found if row is not None and _has_vector(row) and row.thumbnail]
    if len(rows) < FEWEST:
        return None
    parts = client.embed_images(picture_parts([row.thumbnail for row in rows]), errors="return")
    if parts.ok.sum() < FEWEST:
        return None
    if parts.space != settings.space:
        raise SpaceMismatch(f"the index is of the space {settings.space}, the client of {parts.space}")
    images = _embeddings([row for row, ok in zip(rows, parts.ok, strict=True) if ok], settings)
    cosines = parts[parts.ok].vectors @ images.vectors.T
    own = np.eye(len(images), dtype=bool)
    return fit_calibration(settings.space, cosines[own], cosines[~own])


def _has_vector(row: Row | None) -> bool:
    return row is not None and row.vector is not None


def _embeddings(rows: Sequence[Row], settings: Settings) -> Embeddings:
    vectors: Vectors = np.stack([row.vector for row in rows if row.vector is not None])
    return Embeddings(vectors, settings.space, settings.logit_scale)


def picture_parts(thumbnails: Sequence[bytes]) -> Iterator[bytes]:
    """A corner of each picture, another one each time, as PNG; what Pillow cannot read stays as it is."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("a calibration needs Pillow: pip install 'babelclip[images]'") from error
    for number, data in enumerate(thumbnails):
        try:
            with Image.open(io.BytesIO(data)) as picture:
                width, height = (max(1, round(PART * side)) for side in picture.size)
                left = (picture.width - width) * (number % 2)
                top = (picture.height - height) * (number // 2 % 2)
                buffer = io.BytesIO()
                picture.crop((left, top, left + width, top + height)).convert("RGB").save(buffer, "PNG")
        except OSError:
            yield data
        else:
            yield buffer.getvalue()
