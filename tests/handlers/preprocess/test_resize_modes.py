"""The ways in which open_clip's evaluation makes a square of an image, against its own transform."""

from typing import Any

import numpy as np
import open_clip
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from export import golden
from handlers.preprocess.fast import decode_fast
from handlers.preprocess.reference import RESIZES, Resize, decode_image, to_pixels

LIMITS: dict[str, Any] = {"max_pixels": 4_000_000, "max_bytes": 2_000_000}
SIDES = st.integers(8, 200)
MODES = ("shortest", "squash", "longest")


def noise(width: int, height: int) -> Image.Image:
    rows = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(rows)


def name_of(mode: str, interpolation: str) -> Resize:
    found = interpolation if mode == "shortest" else f"{mode}-{interpolation}"
    return next(resize for resize in RESIZES if resize == found)


@settings(max_examples=40)
@given(
    SIDES, SIDES, st.sampled_from([16, 33]), st.sampled_from(MODES), st.sampled_from(["bicubic", "bilinear"])
)
def test_it_is_open_clips_transform(
    width: int, height: int, size: int, mode: str, interpolation: str
) -> None:
    """What a model of any resize mode was evaluated with, up to the rounding of Pillow's second pass."""
    # Newer Pillow versions resize tall images down first.
    image = noise(max(width, height), min(width, height))
    transform = open_clip.image_transform(
        size,
        is_train=False,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        resize_mode=mode,
        interpolation=interpolation,
    )
    due = np.rint(255 * transform(image).permute(1, 2, 0).numpy()).astype(int)
    found = to_pixels(image, size=size, resize=name_of(mode, interpolation))
    assert np.abs(found - due).max() <= 1


@settings(max_examples=40)
@given(SIDES, SIDES, st.sampled_from([16, 33]), st.sampled_from(RESIZES))
def test_serving_gives_the_references_pixels(width: int, height: int, size: int, resize: Resize) -> None:
    """torch's filters are those of the reference in every mode, but for roundings."""
    data = golden.encode(noise(width, height), "PNG")
    reference = decode_image(data, size=size, resize=resize, **LIMITS).astype(int)
    fast = decode_fast(data, size=size, resize=resize, reduction=0, **LIMITS)
    assert np.abs(reference - fast).max() <= 2


@pytest.mark.parametrize("resize", ["longest-bicubic", "longest-bilinear"])
def test_what_lies_beside_the_longest_side_is_black(resize: Resize) -> None:
    """A wide image stands in the middle, whole, and a strip of one pixel's height is no error."""
    pixels = to_pixels(Image.new("RGB", (400, 100), "white"), size=64, resize=resize)
    assert (pixels[:24] == 0).all()
    assert (pixels[24:40] == 255).all()
    assert (pixels[40:] == 0).all()
    strip = to_pixels(Image.new("RGB", (3000, 1), "white"), size=64, resize=resize)
    assert strip.any(axis=(1, 2)).sum() == 1
