"""Formats of phones and cameras: HEIC and JPEG XL by their packages, or a sentence that names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from handlers.preprocess import image_files, jpegxl
from handlers.preprocess.fast import decode_fast
from handlers.preprocess.image_files import ImageError
from handlers.preprocess.reference import decode_image
from tests.handlers.images import SIZE, decode, difference, encoded, motif

EXPECTED = decode(encoded(motif()))
PACKAGES = {"HEIF": "pillow_heif", "JXL": "pillow_jxl"}


def saved(kind: str, image: Image.Image, orientation: int = 1, **options: object) -> bytes:
    """A file of the format, or the test is skipped where the format's package is missing."""
    if kind in PACKAGES:
        pytest.importorskip(PACKAGES[kind])
    if kind not in image_files.supported_formats():
        pytest.skip(f"no {kind} here")
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, kind, exif=exif.tobytes(), quality=98, **options)


@pytest.mark.parametrize("kind", ["HEIF", "JXL", "AVIF"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_photographs_of_phones_are_decoded(kind: str, orientation: int) -> None:
    """The same picture in each format has the same pixels, turned upright once however the file says it."""
    turned = motif().transpose(Image.Transpose.ROTATE_90) if orientation == 6 else motif()
    data = saved(kind, turned, orientation)
    asked: dict[str, Any] = {"size": SIZE, "max_pixels": 10**6, "max_bytes": 10**6}
    assert difference(decode_image(data, **asked), EXPECTED) <= 12
    assert difference(decode_fast(data, reduction=1.25, **asked), EXPECTED) <= 12


@pytest.mark.parametrize("kind", ["HEIF", "JXL", "AVIF"])
def test_their_limits_hold_before_decoding(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture of too many pixels is refused by its header; the decoder of JPEG XL is not even opened."""
    data = saved(kind, motif(300, 200))
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("it was decoded"))
    if kind == "JXL":
        monkeypatch.setitem(Image.OPEN, "JXL", (lambda *_: pytest.fail("it was opened"), None))
    with pytest.raises(ImageError, match="300×200") as caught:
        decode(data, max_pixels=59_999)
    assert caught.value.code == "image_too_large"


@pytest.mark.parametrize("kind", ["HEIF", "JXL", "AVIF"])
def test_a_half_of_one_is_truncated(kind: str) -> None:
    """A file that ends too early is told apart from one that is no image."""
    options = {"use_container": True} if kind == "JXL" else {}
    data = saved(kind, motif(300, 200), **options)
    with pytest.raises(ImageError) as caught:
        decode(data[: len(data) // 2])
    assert caught.value.code == "image_truncated"


def test_transparency_in_jpeg_xl_is_white() -> None:
    """Alpha lies over white there, too."""
    clear = saved("JXL", Image.new("RGBA", (30, 30), (255, 0, 0, 0)), lossless=True)
    np.testing.assert_array_equal(decode(clear), np.full((SIZE, SIZE, 3), 255))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(99), "needs the package pillow-heif beside the model"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic" + bytes(99), "needs the package pillow-heif beside the model"),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1avif" + bytes(99), "needs Pillow 11.3 or later"),
        (jpegxl.CODESTREAM + bytes(99), "needs the package pillow-jxl-plugin"),
        (jpegxl.CONTAINER + b"\0\0\0\x20jxlc" + jpegxl.CODESTREAM + bytes(99), "pillow-jxl-plugin"),
    ],
)
@pytest.mark.parametrize("decoder", [decode_image, lambda d, **k: decode_fast(d, reduction=0, **k)])
def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, data: bytes, says: str, decoder: Callable[..., object]
) -> None:
    """Where the package of a known format is not installed, the sentence says which, and what is read."""
    monkeypatch.setattr(image_files, "supported_formats", lambda: ("JPEG", "PNG"))
    with pytest.raises(ImageError) as caught:
        decoder(data, size=SIZE, max_pixels=10**6, max_bytes=10**6)
    assert caught.value.code == "image_undecodable"
    assert says in caught.value.message
    assert caught.value.message.endswith("supported formats: JPEG, PNG")


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize(
    "size", [(1, 1), (8, 8), (256, 256), (264, 264), (800, 600), (513, 1), (9000, 10), (1920, 1080), (7, 300)]
)
def test_the_size_of_a_jpeg_xl_is_read(size: tuple[int, int], container: bool) -> None:
    """Each way in which the size is packed, bare and in boxes, as the encoder writes it."""
    assert jpegxl.read_size(saved("JXL", Image.new("L", size), use_container=container)) == size


@given(
    st.sampled_from([jpegxl.CODESTREAM, jpegxl.CONTAINER, jpegxl.CONTAINER + b"\0\0\0\x20jxlp\0\0\0\0"]),
    st.binary(max_size=60),
)
def test_any_bytes_have_a_size_or_none(start: bytes, rest: bytes) -> None:
    """Whatever follows the signature, reading ends with two sides or with one of two errors."""
    try:
        width, height = jpegxl.read_size(start + rest)
    except (EOFError, ValueError):
        return
    assert width >= 0
    assert 1 <= height <= 2**30
