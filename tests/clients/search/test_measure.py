"""A calibration measured from an index."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from babelclip import Client, SpaceMismatch
from babelclip.index import Index, Row, Settings, create_index
from babelclip.search.measure import calibrate_index, picture_parts
from babelclip.testing import InMemoryTransport

Image = pytest.importorskip("PIL.Image", reason="thumbnails are read by Pillow")
COUNT, DIM = 60, 32
SPACE = "in-memory"


def thumbnail(n: int) -> bytes:
    """A picture of noise, another one for each number."""
    pixels = np.random.default_rng(n).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def noisy(vector: np.ndarray, much: float, seed: int) -> np.ndarray:
    found = vector + much * np.random.default_rng(seed).normal(size=len(vector)) / np.sqrt(len(vector))
    unit: np.ndarray = (found / np.linalg.norm(found)).astype(np.float32)
    return unit


Filled = Callable[[bool, bool], Index]


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Filled]:
    """Makes an index whose rows have captions, or thumbnails, or both."""
    made: list[Index] = []

    def fill(captions: bool, thumbnails: bool) -> Index:
        index = create_index(tmp_path / "index", Settings(space=SPACE, dim=DIM))
        made.append(index)
        rows = [
            Row(
                id=str(n),
                source=f"{n}.jpg",
                vector=VECTORS[n],
                caption=f"picture {n}" if captions else "all alike",
                thumbnail=THUMBNAILS[n] if thumbnails else b"",
            )
            for n in range(COUNT)
        ]
        failed = Row(id="x", source="x", caption="broken", error_code="image_undecodable")
        index.upsert([*rows, failed], space=SPACE)
        return index

    yield fill
    for index in made:
        index.close()


VECTORS = [noisy(np.eye(DIM)[n % DIM], 0.5, n) for n in range(COUNT)]
THUMBNAILS = [thumbnail(n) for n in range(COUNT)]


def client() -> Client:
    """A model whose texts are far from what they describe, and whose parts of pictures are near."""
    vectors: dict[str | bytes, np.ndarray] = {
        f"picture {n}": noisy(VECTORS[n], 1.5, 1000 + n) for n in range(COUNT)
    }
    vectors |= {
        part: noisy(VECTORS[n], 0.3, 2000 + n + corner)
        for n in range(COUNT)
        for corner, part in enumerate(picture_parts([THUMBNAILS[n]] * 4))
    }
    return Client("", transport=InMemoryTransport(vectors=vectors))


def test_texts_and_images_have_curves_of_their_own(filled: Filled) -> None:
    """Captions and parts of pictures give two curves; the images' begins at higher cosines."""
    found = calibrate_index(filled(True, True), client())
    assert found.space == SPACE
    assert found.text is not None
    assert found.image is not None
    assert (found.text.pairs, found.image.pairs) == (COUNT, COUNT)
    text, image = (-curve.offset / curve.slope for curve in (found.text, found.image))
    assert 0.1 < text < image < 0.9


def test_what_is_not_there_has_no_curve(filled: Filled) -> None:
    """Captions that all rows share say nothing of a text, and a sample is as large as asked for."""
    found = calibrate_index(filled(False, True), client(), sample=30)
    assert found.text is None
    assert found.image is not None
    assert found.image.pairs == 30


def test_the_same_seed_measures_the_same(filled: Filled) -> None:
    """A measurement can be repeated."""
    index = filled(True, False)
    assert calibrate_index(index, client(), sample=25) == calibrate_index(index, client(), sample=25)
    assert calibrate_index(index, client(), sample=25).image is None


def test_an_index_without_either_is_explained(filled: Filled) -> None:
    """Where nothing can be measured the error says what is missing."""
    with pytest.raises(ValueError, match="caption of their own, or with a thumbnail"):
        calibrate_index(filled(False, False), client())


@pytest.mark.parametrize("captions", [True, False])
def test_a_model_of_another_space_is_refused(filled: Filled, captions: bool) -> None:
    """Cosines with vectors of another model would be measured for nothing."""
    other = Client("", transport=InMemoryTransport(space="other"))
    with pytest.raises(SpaceMismatch):
        calibrate_index(filled(captions, not captions), other)


def test_parts_are_of_the_picture() -> None:
    """A part is 0.7 of each side, at each corner in turn; what is no picture is left to the model."""
    parts = list(picture_parts([THUMBNAILS[0], THUMBNAILS[0], b"broken"]))
    first, second = (Image.open(io.BytesIO(part)) for part in parts[:2])
    assert first.size == second.size == (21, 14)
    assert parts[0] != parts[1]
    assert parts[2] == b"broken"
