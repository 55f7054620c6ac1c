"""Squashing into a square, as SigLIP's images are: Pillow's own resize, and serving's twin of it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from export import golden
from handlers.preprocess.fast import decode_fast
from handlers.preprocess.reference import Resize, decode_image, to_pixels

FILTERS: dict[Resize, Image.Resampling] = {
    "squash-bicubic": Image.Resampling.BICUBIC,
    "squash-bilinear": Image.Resampling.BILINEAR,
}
LIMITS: dict[str, Any] = {"max_pixels": 4_000_000, "max_bytes": 2_000_000}
SIDES = st.integers(1, 200)


def noise(width: int, height: int) -> Image.Image:
    rows = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(rows)


@given(SIDES, SIDES, st.sampled_from([16, 33, 64]), st.sampled_from(list(FILTERS)))
def test_it_is_pillows_resize(width: int, height: int, size: int, resize: Resize) -> None:
    """What a model was trained with: the whole image, in any proportions, by the filter of its config."""
    # Newer Pillow versions resize tall images down first; the bicubic overshoot is clipped in each pass.
    image = noise(max(width, height), min(width, height))
    due = np.asarray(image.resize((size, size), FILTERS[resize])).astype(int)
    assert np.abs(to_pixels(image, size=size, resize=resize) - due).max() <= 1


@given(SIDES, SIDES, st.sampled_from([16, 33, 64]), st.sampled_from(list(FILTERS)))
def test_serving_gives_the_references_pixels(width: int, height: int, size: int, resize: Resize) -> None:
    """torch's filters are those of the reference, up, down and for strips, but for roundings."""
    data = golden.encode(noise(width, height), "PNG")
    reference = decode_image(data, size=size, resize=resize, **LIMITS).astype(int)
    fast = decode_fast(data, size=size, resize=resize, reduction=0, **LIMITS)
    assert np.abs(reference - fast).max() <= 2


@pytest.mark.parametrize("resize", FILTERS)
def test_nothing_is_cut_off(resize: Resize) -> None:
    """Both ends of a wide image are seen; a centre crop would show neither."""
    image = Image.new("RGB", (400, 100), "white")
    image.paste("red", (0, 0, 50, 100))
    image.paste("blue", (350, 0, 400, 100))
    pixels = to_pixels(image, size=64, resize=resize)
    assert (pixels[32, 0].tolist(), pixels[32, 63].tolist()) == ([255, 0, 0], [0, 0, 255])


def test_a_reduced_photograph_stays_close() -> None:
    """A JPEG that is decoded at a fraction of its size is squashed to nearly the same pixels."""
    data = golden.photographs()["cat"]
    asked = {"size": 64, "resize": "squash-bilinear", **LIMITS}
    reference = decode_image(data, **asked).astype(int)
    assert np.abs(reference - decode_fast(data, reduction=1.25, **asked)).mean() < 3
