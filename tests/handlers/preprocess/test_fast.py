"""Serving's decoding against the reference: the same geometry, nearly the same pixels, the same errors."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from export import golden
from handlers.preprocess.fast import decode_fast, prepare_thread
from handlers.preprocess.image_files import ImageError
from handlers.preprocess.reference import decode_image

LIMITS: dict[str, Any] = {"max_pixels": 4_000_000, "max_bytes": 2_000_000}
IMAGES = golden.images()


def difference(data: bytes, size: int, reduction: float) -> np.ndarray:
    fast = decode_fast(data, size=size, reduction=reduction, **LIMITS).astype(int)
    assert fast.shape == (size, size, 3)
    distance: np.ndarray = np.abs(fast - decode_image(data, size=size, **LIMITS))
    return distance


@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize("name", IMAGES)
def test_pixels_are_those_of_the_reference(name: str, size: int) -> None:
    """At full size every kind of image gives the reference's pixels, but for roundings."""
    assert difference(IMAGES[name], size, 0).max() <= 2


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([16, 33, 224]))
def test_any_proportion_is_cut_like_the_reference(width: int, height: int, size: int) -> None:
    """Up or down, wide or tall, odd or even: the window is the reference's."""
    noise = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert difference(golden.encode(Image.fromarray(noise), "PNG"), size, 0).max() <= 2


@pytest.mark.parametrize("name", list(golden.photographs()))
def test_a_reduced_photograph_stays_close(name: str) -> None:
    """Decoding a photograph at 1/2 changes its pixels by a few levels; where too little is left, by none."""
    assert difference(IMAGES[name], 224, 1.0).mean() < 3
    assert difference(IMAGES[name], 224, 1.25).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_photograph_is_upright(orientation: int) -> None:
    """Reduction keeps the EXIF orientation."""
    assert difference(IMAGES[f"exif-{orientation}"], 64, 1.0).mean() < 2


def test_odd_sizes_are_never_reduced() -> None:
    """A size that the scale does not divide would be stretched, so it is decoded in full."""
    image = golden.picture(5, 641, 479)
    assert difference(golden.encode(image, "JPEG", quality=90), 64, 1.0).max() <= 1


def test_the_errors_are_the_references() -> None:
    """What the reference refuses, serving refuses with the same code, however the image is decoded."""
    whole = golden.photographs()["cat"]
    for data in (b"", b"nonsense", whole[: len(whole) // 2], whole * 40):
        codes = []
        for decode in (decode_image, lambda data, **most: decode_fast(data, reduction=1.0, **most)):
            with pytest.raises(ImageError) as caught:
                decode(data, size=64, **LIMITS)
            codes.append(caught.value.code)
        assert codes[0] == codes[1]
    with pytest.raises(ImageError, match="at most 1,000 are allowed"):
        decode_fast(whole, size=64, max_pixels=1000, max_bytes=10**6, reduction=1.0)


def test_preparing_a_thread_leaves_the_others_alone() -> None:
    """torch's limit of threads in a decoding thread does not reach the thread of the forward pass."""
    from concurrent.futures import ThreadPoolExecutor

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(1, initializer=prepare_thread) as pool:
            assert pool.submit(torch.get_num_threads).result() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_grey_and_rare_modes_are_read() -> None:
    """A grey JPEG and one in CMYK can be reduced as well."""
    for mode in ("L", "CMYK"):
        buffer = io.BytesIO()
        golden.picture(9, 640, 480).convert(mode).save(buffer, "JPEG", quality=92)
        assert difference(buffer.getvalue(), 64, 1.0).mean() < 3


def test_a_photograph_with_another_behind_it_is_read_as_fast() -> None:
    """Phones save a JPEG with a depth map behind it, which Pillow calls MPO: it is reduced like any."""
    photograph, alone, two = golden.picture(9, 640, 480), io.BytesIO(), io.BytesIO()
    photograph.save(alone, "JPEG", quality=92)
    photograph.save(two, "MPO", save_all=True, append_images=[photograph.resize((64, 48))], quality=92)
    assert Image.open(two).format == "MPO"
    reduced, whole = (
        [decode_fast(file.getvalue(), size=64, reduction=reduction, **LIMITS) for file in (alone, two)]
        for reduction in (1.0, 0.0)
    )
    np.testing.assert_array_equal(reduced[1], reduced[0])
    np.testing.assert_array_equal(whole[1], whole[0])
    assert (reduced[0] != whole[0]).any()
