"""The reference preprocessing: every mode, orientation and shape."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from handlers.preprocess.image_files import supported_formats
from handlers.preprocess.reference import Pixels, to_pixels
from tests.handlers.images import PNG, SIZE, decode, difference, encoded, motif, png_chunk


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack("!IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}
    return PNG + b"".join(png_chunk(kind, data) for kind, data in chunks.items())


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
    # Each of the two passes rounds, so where they begin differs by a hair, two levels can come together.
    assert difference(to_pixels(image, size=SIZE), resized_whole(image)) <= 2


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (1, 60_000), (60_000, 1), (1, 5000), (5000, 1), (3, 4), (16, 16), (999, 20)]
)
def test_any_shape(width: int, height: int) -> None:
    """Tiny, very tall and very wide images give a full square."""
    pixels = decode(encoded(motif(width, height)))
    assert (pixels.shape, pixels.dtype, pixels.flags.c_contiguous) == ((SIZE, SIZE, 3), np.dtype("u1"), True)


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


def test_adobe_ycck_jpeg() -> None:
    """The CMYK JPEG that Photoshop writes, YCCK with an Adobe marker that says so, keeps its colours too."""
    ink = motif().convert("CMYK").split()
    colours = Image.merge("RGB", ink[:3]).convert("YCbCr").split()
    # Pillow stores CMYK inverted and without a change of colours: what is stored is then YCCK.
    stored = Image.merge("CMYK", [*(ImageOps.invert(band) for band in colours), ink[3]])
    data = encoded(stored, "JPEG", quality=98, subsampling=0)
    adobe = data.index(b"Adobe") + 11  # the marker's last byte: 0 is CMYK, 2 is YCCK
    assert data[adobe] == 0
    assert difference(decode(data[:adobe] + b"\2" + data[adobe + 1 :]), EXPECTED) <= 12


@pytest.mark.parametrize("colour", [2, 4, 6])
def test_sixteen_bit_colour_png(colour: int) -> None:
    """PNGs of 16 bits a channel, RGB, grey with alpha and RGBA, give the picture of their upper 8 bits."""
    kind = {2: "RGB", 4: "LA", 6: "RGBA"}[colour]
    eight = np.asarray(motif().convert(kind))
    rows = (eight.astype(np.uint16) * 257).astype(">u2").reshape(eight.shape[0], -1)
    height, width = eight.shape[:2]
    data = png(width, height, 16, colour, b"".join(b"\0" + row.tobytes() for row in rows))
    assert difference(decode(data), GREY if kind == "LA" else EXPECTED) <= 1


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
    grey_half = Image.merge("LA", [Image.new("L", (20, 20), 0), Image.new("L", (20, 20), 128)])
    assert abs(int(decode(encoded(grey_half))[0, 0, 0]) - 127) <= 1


def test_palette_with_several_degrees_of_transparency() -> None:
    """A palette whose entries have an alpha each is laid over white, entry by entry."""
    image = Image.new("P", (20, 20), 0)
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    for entry, expected in enumerate([(127, 127, 127), (255, 255, 255), (0, 0, 255)]):
        image.paste(entry, (0, 0, 20, 20))
        pixels = decode(encoded(image, transparency=bytes((128, 0, 255))))
        assert np.abs(pixels.astype(int) - expected).max() <= 1, entry


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
    lossless: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
    }
    pixels = decode(encoded(stored, kind, exif=exif, **lossless.get(kind, {})))
    assert difference(pixels, EXPECTED) <= 4


BROKEN_EXIF = [
    b"Exif\0\0MM\0*\xff\xff\xff\xff",  # the directory lies beyond the end
    b"Exif\0\0II*\0\x08\0\0\0\xff\xff",  # 65,535 entries, none there
    b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x02A\0\0\0\0\0\0\0",  # orientation "A"
    b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x05\0\0\0\x01\0\0\0\x1a\0\0\0\0\0\0\0\0\0\0\0\0",  # 0/0
    b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\xff\xff\xff\xff\0\x06\0\0\0\0\0\0",  # 4 billion of them
    b"Exif\0\0nonsense",
    b"Exif\0\0",
]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("exif", BROKEN_EXIF)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_metadata_is_ignored(kind: str, exif: bytes) -> None:
    """An image with unreadable EXIF is decoded as it lies."""
    lossless: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
    }
    assert difference(decode(encoded(motif(), kind, exif=exif, **lossless.get(kind, {}))), EXPECTED) <= 4


def test_no_torch_needed() -> None:
    """Training workers and tools can import the preprocessing without loading torch."""
    program = "import sys, handlers.preprocess.reference; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
