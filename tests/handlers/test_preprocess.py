"""The reference preprocessing: every mode, orientation and shape, and every kind of broken bytes."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handlers.preprocess import ImageError, Pixels, decode_image, supported_formats, to_pixels
from tests.handlers.images import encoded, motif

SIZE = 16


def decode(data: bytes, max_pixels: int = 1_000_000, max_bytes: int = 1_000_000) -> Pixels:
    return decode_image(data, size=SIZE, max_pixels=max_pixels, max_bytes=max_bytes)


def difference(one: Pixels, other: Pixels) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


EXPECTED = to_pixels(motif(), size=SIZE)
GREY = to_pixels(motif().convert("L"), size=SIZE)


def resized_whole(image: Image.Image) -> Pixels:
    """The definition, without the shortcut: the whole image across, then down, then the crop."""
    short = min(image.size)
    width, height = (SIZE if side == short else int(SIZE * side / short) for side in image.size)
    across = image.resize((width, image.height), Image.Resampling.BICUBIC)
    whole = across.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - SIZE) / 2), round((height - SIZE) / 2)
    return np.array(whole.crop((left, top, left + SIZE, top + SIZE)))


@settings(max_examples=60)
@given(width=st.integers(1, 200), height=st.integers(1, 200), seed=st.integers(0, 99))
def test_equal_to_resizing_and_cropping(width: int, height: int, seed: int) -> None:
    """Resampling only what the crop shows gives what torchvision's Resize and CenterCrop define."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    assert difference(to_pixels(image, size=SIZE), resized_whole(image)) <= 1


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5000), (5000, 1), (3, 4), (16, 16), (999, 20)])
def test_any_shape(width: int, height: int) -> None:
    """Tiny, very tall and very wide images give a full square."""
    pixels = decode(encoded(motif(width, height)))
    assert (pixels.shape, pixels.dtype, pixels.flags.c_contiguous) == ((SIZE, SIZE, 3), np.uint8, True)


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 95, "subsampling": 0}, 4),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, 4),
        ("AVIF", {"quality": 95}, 12),
        ("GIF", {}, 40),
    ],
)
def test_every_format(kind: str, options: dict[str, object], tolerance: int) -> None:
    """The same picture comes out of every format, as closely as the format's loss allows."""
    if kind not in supported_formats():
        pytest.skip(f"this Pillow was built without {kind}")
    assert difference(decode(encoded(motif(), kind, **options)), EXPECTED) <= tolerance


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "RGBA"])
def test_every_png_mode(mode: str) -> None:
    """Grey, black and white, palettes and opaque alpha become RGB."""
    image = motif().convert(mode)
    assert difference(decode(encoded(image)), to_pixels(image.convert("RGB"), size=SIZE)) == 0


def test_cmyk_jpeg() -> None:
    """A CMYK JPEG, inverted as Adobe writes it, has the colours of the RGB picture."""
    pixels = decode(encoded(motif().convert("CMYK"), "JPEG", quality=98, subsampling=0))
    assert difference(pixels, EXPECTED) <= 8


def test_sixteen_bits_are_scaled() -> None:
    """A 16-bit grey image is the 8-bit one times 257, not the 8-bit one clipped to white."""
    wide = np.asarray(motif().convert("L")).astype(np.uint16) * 257
    assert difference(decode(encoded(Image.fromarray(wide))), GREY) == 0
    assert difference(decode(encoded(Image.fromarray(wide), "TIFF")), GREY) == 0
    assert difference(to_pixels(Image.fromarray(wide.astype(">u2")), size=SIZE), GREY) == 0


@pytest.mark.parametrize("factor", [1, 257, 70_000])
def test_wide_integers_are_scaled(factor: int) -> None:
    """32-bit integers are read in the smallest usual range that holds them, else from minimum to maximum."""
    wide = np.asarray(motif().convert("L")).astype(np.int32)
    wide = (wide - wide.min()) * factor
    top = 255 if factor < 70_000 else int(wide.max()) / factor
    expected = to_pixels(Image.fromarray(np.rint(wide / factor * 255 / top).astype(np.uint8)), size=SIZE)
    assert difference(decode(encoded(Image.fromarray(wide), "TIFF")), expected) <= 1


@pytest.mark.parametrize("factor", [1 / 255, 1.0, 257.0])
def test_floats_are_scaled(factor: float) -> None:
    """Floats of 0–1, 0–255 and 0–65535 give the same picture; what is no number is black."""
    wide = np.asarray(motif().convert("L")).astype(np.float32) * np.float32(factor)
    assert difference(decode(encoded(Image.fromarray(wide), "TIFF")), GREY) <= 1
    assert not to_pixels(Image.fromarray(np.full((4, 4), np.nan, np.float32)), size=SIZE).any()


def test_alpha_over_white() -> None:
    """Transparent pixels are white in RGBA, grey with alpha, palettes and colour keys; half is half-way."""
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    half = Image.new("RGBA", (20, 20), (0, 0, 0, 128))
    assert (decode(encoded(clear)) == 255).all()
    assert (decode(encoded(clear.convert("LA"))) == 255).all()
    assert (decode(encoded(clear.convert("RGB").quantize(2), transparency=0)) == 255).all()
    assert (decode(encoded(Image.new("L", (20, 20), 7), transparency=7)) == 255).all()
    assert (decode(encoded(Image.new("RGB", (20, 20), (1, 2, 3)), transparency=(1, 2, 3))) == 255).all()
    assert abs(int(decode(encoded(half))[0, 0, 0]) - 127) <= 1


def test_first_frame_of_an_animation() -> None:
    """Of several frames the first counts."""
    red, blue = Image.new("RGB", (20, 20), (255, 0, 0)), Image.new("RGB", (20, 20), (0, 0, 255))
    for kind in ("GIF", "WEBP", "TIFF", "PNG"):
        pixels = decode(encoded(red, kind, save_all=True, append_images=[blue]))
        assert difference(pixels, to_pixels(red, size=SIZE)) <= 8, kind


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation(kind: str, orientation: int) -> None:
    """A picture stored turned or mirrored comes out upright; an unknown orientation changes nothing."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = motif().transpose(undo[orientation]) if orientation in undo else motif()
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    pixels = decode(encoded(stored, kind, exif=exif, **lossless.get(kind, {})))
    assert difference(pixels, EXPECTED) <= 4


def test_broken_metadata_is_ignored() -> None:
    """An image with unreadable EXIF is decoded as it lies."""
    assert difference(decode(encoded(motif(), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")), EXPECTED) == 0


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = struct.pack("!I", 0) + b"IEND" + struct.pack("!I", zlib.crc32(b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + struct.pack("!I", 13) + chunk + struct.pack("!I", zlib.crc32(chunk)) + end


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"", "empty_item", "no bytes"),
        (b"hello", "image_undecodable", "JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image_undecodable", "PNG"),
        (b"%PDF-1.4", "image_undecodable", "TIFF"),
        (b"P6 1 1 255 abc", "image_undecodable", "GIF"),
        (b"\0" * 1_000_001, "image_too_many_bytes", "1,000,000"),
        (png_header(30_000, 30_000), "image_too_large", "1,000,000"),
        (png_header(9000, 9000), "image_too_large", "9000×9000"),
        (png_header(12_000, 12_000), "image_too_large", "1,000,000"),
        (png_header(1, 70_000), "image_too_large", "65,535"),
        (encoded(motif(), "JPEG")[:-200], "image_truncated", "ends too early"),
        (encoded(motif(), "JPEG")[:30], "image_truncated", "ends too early"),
        (encoded(motif(), "JPEG", progressive=True)[:-200], "image_truncated", "ends too early"),
        (encoded(motif())[:-300], "image_truncated", "ends too early"),
        (encoded(motif())[:20], "image_truncated", "ends too early"),
        (encoded(motif(), "GIF")[:-500], "image_truncated", "ends too early"),
        (encoded(motif(), "WEBP")[:-50], "image_truncated", "ends too early"),
        (encoded(motif(), "BMP")[:-50], "image_truncated", "ends too early"),
    ],
)
def test_every_refusal(data: bytes, code: str, says: str) -> None:
    """Bytes that give no picture are refused with their code and a sentence that names the limit."""
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert caught.value.code == code
    assert says in caught.value.message


def test_the_pixel_limit_holds_before_decoding() -> None:
    """The limit is about the header, exactly: one pixel more is refused, and nothing was decoded for it."""
    assert decode(encoded(motif(10, 10)), max_pixels=100).shape == (SIZE, SIZE, 3)
    with pytest.raises(ImageError, match="at most 99 "):
        decode(encoded(motif(10, 10)), max_pixels=99)


WHOLE = [encoded(motif(), kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")]
CODES = {"", "empty_item", "image_undecodable", "image_truncated", "image_too_large", "image_too_many_bytes"}


@settings(max_examples=300)
@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda whole, cut, place, junk: whole[:place] + junk + whole[place + len(junk) :][:cut],
            st.sampled_from(WHOLE),
            st.integers(0, 5000),
            st.integers(0, 400),
            st.binary(max_size=8),
        ),
    )
)
def test_any_bytes_are_pixels_or_an_image_error(data: bytes) -> None:
    """Random, overwritten and cut files either decode or are refused with a code; nothing else escapes."""
    code = ""
    try:
        assert decode(data).shape == (SIZE, SIZE, 3)
    except ImageError as error:
        code = error.code
    assert code in CODES


def test_no_torch_needed() -> None:
    """Training workers and tools can import the preprocessing without loading torch."""
    program = "import sys, handlers.preprocess; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
