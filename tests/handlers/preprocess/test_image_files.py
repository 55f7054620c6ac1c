"""Image files from outside: what is looked through before Pillow, and every kind of broken bytes."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from handlers.preprocess.image_files import ImageError, supported_formats
from handlers.preprocess.reference import to_pixels
from tests.handlers.images import PNG, SIZE, decode, difference, encoded, motif, png_chunk

EXPECTED = to_pixels(motif(), size=SIZE)


def with_chunks(data: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """A PNG with more chunks behind its header, which ends with byte 33."""
    return data[:33] + b"".join(png_chunk(kind, content) for kind, content in more) + data[33:]


LARGE = bytes(3_000_000)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"icc_profile": LARGE, "quality": 100, "subsampling": 0}),
        ("JPEG", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0" + bytes(65_000), "quality": 100, "subsampling": 0}),
        ("PNG", {"icc_profile": LARGE}),
        ("PNG", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0" + LARGE}),
        ("WEBP", {"icc_profile": LARGE, "lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0" + LARGE, "lossless": True}),
        ("TIFF", {"icc_profile": LARGE}),
    ],
)
def test_large_metadata_is_ignored(kind: str, options: dict[str, object]) -> None:
    """A picture is not refused for a colour profile or EXIF of megabytes."""
    data = encoded(motif(), kind, **options)
    assert difference(decode(data, max_bytes=10_000_000), EXPECTED) <= 4


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_large_texts_are_ignored(kind: bytes) -> None:
    """A PNG is not refused for a compressed text of a megabyte, such as an editor's history."""
    history = zlib.compress(np.random.default_rng(0).integers(65, 91, 1_500_000, dtype=np.uint8).tobytes())
    before = b"history\0\0" if kind == b"zTXt" else b"history\0\1\0\0\0"
    assert difference(decode(with_chunks(encoded(motif()), (kind, before + history))), EXPECTED) == 0


def test_an_orientation_in_a_text_is_read() -> None:
    """What older tools write of EXIF into a PNG, a compressed text of hex digits, still turns it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    digits = exif.tobytes().hex()
    packed = b"Raw profile type exif\0\0" + zlib.compress(
        f"\nexif\n{len(digits) // 2:8}\n{digits}\n".encode()
    )
    turned = encoded(motif().transpose(Image.Transpose.ROTATE_90))
    assert difference(decode(with_chunks(turned, (b"zTXt", packed))), EXPECTED) == 0


def test_a_profile_a_thousand_times_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kilobyte that unpacks to a megabyte, repeated, would hold up a worker; none is unpacked."""
    unpacked: list[int] = []
    unpack = PngImagePlugin._safe_zlib_decompress

    def counting(data: bytes) -> bytes:
        unpacked.append(len(data))
        return unpack(data)

    monkeypatch.setattr(PngImagePlugin, "_safe_zlib_decompress", counting)
    profile = b"x\0\0" + zlib.compress(bytes(1_000_000))
    data = with_chunks(encoded(motif()), *[(b"iCCP", profile)] * 50)
    Image.open(io.BytesIO(data))
    assert len(unpacked) == 50
    assert difference(decode(data), EXPECTED) == 0
    assert len(unpacked) == 50


def scans(data: bytes, times: int) -> bytes:
    """A progressive JPEG whose last scan comes `times` times more."""
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * times + data[-2:]


def test_thousands_of_scans_are_refused_undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A JPEG can ask in 80 bytes for another pass over its pixels; some are fine, thousands are an attack."""
    data = encoded(motif(), "JPEG", progressive=True, quality=95, subsampling=0)
    assert difference(decode(scans(data, 50)), EXPECTED) <= 4
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(ImageError, match="more than 100 scans") as caught:
        decode(scans(data, 5_000))
    assert caught.value.code == "image_undecodable"


def tiff_of_tiles(order: str, count: int, large: bool) -> bytes:
    """A grey TIFF, or a BigTIFF, of 16×16 pixels whose one tile is named `count` times."""
    header, number, entry, one = ("HHHQ", "Q", "HHQQ", "Q") if large else ("HI", "H", "HHII", "I")
    tags = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 277: 1, 322: 16, 323: 16}
    start = 2 + struct.calcsize(order + header)
    tables = start + struct.calcsize(order + number) + 10 * struct.calcsize(order + entry) + 8
    width = struct.calcsize(order + one) * count
    pixels = tables + 2 * width
    # One value stands in the entry itself, several in a table.
    places = {324: tables, 325: tables + width} if count > 1 else {324: pixels, 325: 256}
    data = b"II" if order == "<" else b"MM"
    data += struct.pack(order + header, 43, 8, 0, start) if large else struct.pack(order + header, 42, start)
    data += struct.pack(order + number, 10)
    kind = 16 if large else 4
    data += b"".join(struct.pack(order + entry, tag, kind, 1, value) for tag, value in tags.items())
    data += b"".join(struct.pack(order + entry, tag, kind, count, place) for tag, place in places.items())
    values = struct.pack(order + one, pixels) * count + struct.pack(order + one, 256) * count
    return data.ljust(tables, b"\0") + values + bytes(range(256))


@pytest.mark.parametrize(("order", "large"), [("<", False), (">", False), ("<", True)])
def test_a_million_tiles_are_refused_unopened(
    monkeypatch: pytest.MonkeyPatch, order: str, large: bool
) -> None:
    """A TIFF can name the same few bytes a million times, each of which costs Pillow its time."""
    few = decode(tiff_of_tiles(order, 1, large))
    assert (few == np.arange(256, dtype=np.uint8).reshape(16, 16, 1)).all()
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(ImageError, match="more than 200,000 strips or tiles") as caught:
        decode(tiff_of_tiles(order, 200_001, large), max_bytes=10_000_000)
    assert caught.value.code == "image_undecodable"


def test_what_a_camera_appends_are_no_scans() -> None:
    """A film behind a photograph or a thumbnail in its EXIF has bytes that look like scans and are none."""
    options = {"quality": 95, "subsampling": 0, "exif": b"Exif\0\0" + b"\xff\xda\0\x02" * 1_000}
    data = encoded(motif(), "JPEG", **options) + b"\xff\xda\0\x02" * 1_000
    assert difference(decode(data), EXPECTED) <= 4


def png_header(width: int, height: int) -> bytes:
    header = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PNG + png_chunk(b"IHDR", header) + png_chunk(b"IEND", b"")


def bmp_header(width: int, height: int) -> bytes:
    information = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54) + information


def gif_header(width: int, height: int) -> bytes:
    frame = struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0)
    return struct.pack("<6sHHBBB", b"GIF89a", width, height, 0x80, 0, 0) + bytes(6) + frame + b"\2\1\0\0;"


def tiff_header(width: int, height: int) -> bytes:
    # Width, height, 8 bits, LZW, grey, one strip.
    tags = {256: width, 257: height, 258: 8, 259: 5, 262: 1, 273: 8, 277: 1, 278: height, 279: 4}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)


def webp_header(width: int, height: int) -> bytes:
    size = struct.pack("<I", (width - 1) | (height - 1) << 14)
    return b"RIFF" + struct.pack("<I", 24) + b"WEBPVP8L" + struct.pack("<I", 12) + b"\x2f" + size + bytes(7)


def jpeg_header(width: int, height: int) -> bytes:
    data = bytearray(encoded(motif(), "JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack("!HH", height, width)
    return bytes(data)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"", "empty_item", "no bytes"),
        (b"hello", "image_undecodable", "JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image_undecodable", "PNG"),
        (b"%PDF-1.4", "image_undecodable", "TIFF"),
        (b"P6 1 1 255 abc", "image_undecodable", "GIF"),
        (b"\0" * 1_000_001, "image_too_many_bytes", "1,000,000"),
        (HEIC, "image_undecodable", "JPEG, PNG, WEBP, GIF, BMP, TIFF"),
        (HEIC.replace(b"ftypheic", b"ftypmif1"), "image_undecodable", "JPEG, PNG, WEBP, GIF, BMP, TIFF"),
        (png_header(30_000, 30_000), "image_too_large", "1,000,000"),
        (jpeg_header(60_000, 60_000), "image_too_large", "1,000,000"),
        (bmp_header(30_000, 30_000), "image_too_large", "1,000,000"),
        (gif_header(30_000, 30_000), "image_too_large", "1,000,000"),
        (tiff_header(30_000, 30_000), "image_too_large", "1,000,000"),
        (webp_header(16_000, 16_000), "image_too_large", "1,000,000"),
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


# HEIC and JPEG XL by their packages, where they are installed.
KINDS = supported_formats()
WHOLE = [encoded(motif(), kind) for kind in KINDS] + [encoded(motif(), "JPEG", progressive=True)]
WHOLE.append(encoded(motif(), "MPO", save_all=True, append_images=[motif()]))
CODES = {"", "empty_item", "image_undecodable", "image_truncated", "image_too_large", "image_too_many_bytes"}


@settings(max_examples=300)
@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda whole, cut, place, junk: whole[:place] + junk + whole[place + len(junk) :][:cut],
            st.sampled_from(WHOLE),
            st.integers(0, 5000),
            st.integers(0, 900),
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
