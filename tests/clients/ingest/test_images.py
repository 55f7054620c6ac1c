"""What is said of an image beside its vector."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from babelclip.ingest.exif import taken_at
from babelclip.ingest.images import ImageUnreadable, describe_image
from tests.clients.ingest.pictures import encoded, picture

JPEG = encoded(picture(), quality=90)
PNG = encoded(picture(), "PNG")


def distance(one: bytes, other: bytes) -> int:
    """Bits in which the perceptual hashes of two images differ."""
    hashes = [int(describe_image(data).perceptual_hash, 16) for data in (one, other)]
    return (hashes[0] ^ hashes[1]).bit_count()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def noted(**notes: Any) -> bytes:
    """A JPEG with EXIF notes: `orientation`, and camera notes by their hexadecimal number."""
    exif = Image.Exif()
    if "orientation" in notes:
        exif[0x0112] = notes.pop("orientation")
    exif.get_ifd(0x8769).update({int(name[1:], 16): value for name, value in notes.items()})
    return encoded(picture(), exif=exif.tobytes())


def test_size_checksum_and_thumbnail() -> None:
    """A large image has its own size in the details, and a JPEG thumbnail bounded by its longest side."""
    data = encoded(picture(size=(1500, 1000)), quality=90)
    details = describe_image(data, thumbnail=128)
    assert (details.width, details.height) == (1500, 1000)
    assert details.checksum == hashlib.sha256(data).hexdigest()
    small = opened(details.thumbnail)
    assert (small.format, small.mode, small.size) == ("JPEG", "RGB", (128, 85))
    assert (
        np.abs(np.asarray(small.convert("L"), float).mean() - np.asarray(picture().convert("L")).mean()) < 3
    )


def test_a_small_image_is_not_enlarged() -> None:
    """An icon keeps its size in the thumbnail, also where one side is a single pixel."""
    assert opened(describe_image(PNG).thumbnail).size == (64, 48)
    assert opened(describe_image(encoded(picture(size=(1, 900)), "PNG")).thumbnail).size == (1, 256)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation: int) -> None:
    """A photograph that lies on its side is described and shown upright."""
    details = describe_image(noted(orientation=orientation))
    assert (details.width, details.height) == ((48, 64) if orientation >= 5 else (64, 48))
    assert opened(details.thumbnail).size == (details.width, details.height)
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # Image.Transpose of the inverse
    shown = opened(details.thumbnail)
    original = shown if back is None else shown.transpose(Image.Transpose(back))
    assert np.abs(np.asarray(original, float) - np.asarray(picture(), float)).mean() < 8


@pytest.mark.parametrize(
    ("notes", "taken"),
    [
        ({"x9003": "2024:06:28 10:45:00"}, datetime(2024, 6, 28, 10, 45, tzinfo=UTC).timestamp()),
        (
            {"x9003": "2024:06:28 12:45:00", "x9011": "+02:00", "x9291": "25"},
            datetime(2024, 6, 28, 10, 45, tzinfo=UTC).timestamp() + 0.25,
        ),
        ({"x9004": "1969:12:31 23:59:59"}, -1.0),
        ({"x9003": "0000:00:00 00:00:00"}, None),
        ({"x9003": "yesterday"}, None),
        ({}, None),
    ],
)
def test_time_taken(notes: dict[str, str], taken: float | None) -> None:
    """The time comes from the camera's notes, in UTC; a clock that was never set says nothing."""
    assert describe_image(noted(**notes)).taken == taken


def test_look_alikes_have_close_hashes() -> None:
    """What is resized or saved anew keeps its perceptual hash nearly, and another picture has another."""
    original = encoded(picture(1, (640, 480)), quality=95)
    assert distance(original, encoded(picture(1, (320, 240)), quality=40)) <= 4
    assert distance(original, encoded(picture(1, (640, 480)), "WEBP")) <= 4
    assert all(distance(original, encoded(picture(seed, (640, 480)))) > 14 for seed in range(2, 12))


@pytest.mark.parametrize("colour", ["white", "black", "teal"])
def test_hash_of_a_plain_colour(colour: str) -> None:
    """A plain image has no structure to hash, so its bits are all 0 and not the arithmetic's noise."""
    assert describe_image(encoded(Image.new("RGB", (97, 61), colour))).perceptual_hash == "0" * 16


def test_colours_are_srgb() -> None:
    """A thumbnail is in sRGB, also where the original has another colour profile."""
    data = encoded(picture(), "PNG", icc_profile=_linear_profile())
    plain, managed = (opened(describe_image(one).thumbnail) for one in (PNG, data))
    assert np.asarray(managed, float).mean() > np.asarray(plain, float).mean() + 20
    assert "icc_profile" not in managed.info
    broken = encoded(picture(), "PNG", icc_profile=b"no profile")
    assert np.array_equal(np.asarray(opened(describe_image(broken).thumbnail)), np.asarray(plain))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "I", "F", "CMYK"])
def test_every_mode(mode: str) -> None:
    """Grey of any depth, palettes, transparency and print colours all have a thumbnail in RGB."""
    if mode in ("I;16", "I", "F"):
        wide = (np.asarray(picture().convert("L")).astype(np.int64) * 257).astype(
            {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        )
        image = Image.fromarray(wide)
    else:
        image = picture().convert(mode)
    details = describe_image(encoded(image, "TIFF" if mode in ("I", "F", "CMYK") else "PNG"))
    shown = np.asarray(opened(details.thumbnail), float)
    grey = np.asarray(picture().convert("L"), float)
    if mode != "1":
        assert np.abs(shown.mean(axis=2) - grey).mean() < 30
    assert (details.width, details.height) == (64, 48)


def test_transparent_parts_are_white() -> None:
    """What is transparent is shown over white, as the vision tower sees it."""
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    assert np.asarray(opened(describe_image(encoded(clear, "PNG")).thumbnail)).min() > 250


def test_too_many_pixels() -> None:
    """A small file that claims a billion pixels is refused by its header, before it is decoded."""
    header = struct.pack("!IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = PNG[:8] + struct.pack("!I", 13) + chunk + struct.pack("!I", zlib.crc32(chunk)) + PNG[33:]
    with pytest.raises(ImageUnreadable, match="60000×60000 pixels; at most 50,000,000") as caught:
        describe_image(bomb)
    assert caught.value.code == "image_too_large"


def test_too_many_scans() -> None:
    """A JPEG of hundreds of scans, each of which costs as much as decoding it once, is refused."""
    with pytest.raises(ImageUnreadable, match="scans"):
        describe_image(JPEG + 200 * b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_item"),
        (b"no image", "image_undecodable"),
        (b"%PDF-1.7 ", "image_undecodable"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image_undecodable"),
        (JPEG[: len(JPEG) // 2], "image_undecodable"),
        (PNG[: len(PNG) // 2], "image_undecodable"),
    ],
)
def test_broken(data: bytes, code: str) -> None:
    """What is no image, or is cut off, is an error with a code and one line that says so."""
    with pytest.raises(ImageUnreadable) as caught:
        describe_image(data)
    assert caught.value.code == code
    assert caught.value.message
    assert "\n" not in caught.value.message


@settings(max_examples=150)
@given(
    data=st.sampled_from([JPEG, PNG, encoded(picture(), "GIF"), noted(orientation=6, x9003="2024")]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    cut=st.floats(0, 1),
)
def test_damaged_bytes(data: bytes, changes: list[tuple[float, int]], cut: float) -> None:
    """Damaged files give details or an error of ours, and never another exception or a warning."""
    damaged = bytearray(data[: max(1, round(len(data) * max(cut, 0.05)))])
    for place, value in changes:
        damaged[int(place * len(damaged))] = value
    code, details = "", None
    try:
        details = describe_image(bytes(damaged))
    except ImageUnreadable as error:
        code = error.code
    if details is None:
        assert code in ("image_undecodable", "image_too_large")
    else:
        assert max(opened(details.thumbnail).size) <= 256
        assert len(details.perceptual_hash) == 16


@settings(max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from([0x9003, 0x9011, 0x9291, 0x0132]), st.text() | st.binary() | st.integers()
    )
)
def test_any_notes(notes: dict[int, Any]) -> None:
    """Whatever stands where a camera notes the time, it is a time or it is not noted."""
    found = taken_at(notes)
    assert found is None or np.isfinite(found)


def test_thumbnail_out_of_range() -> None:
    """A thumbnail size that makes no sense is a ValueError that names the range."""
    with pytest.raises(ValueError, match="from 32 to 4096"):
        describe_image(PNG, thumbnail=1)


def _linear_profile() -> bytes:
    """sRGB's primaries with a gamma of 1: middle grey is much brighter on a screen than its value says."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    curve = b"curv" + bytes(4) + struct.pack("!I", 0)  # no entries: the identity
    data = bytearray(srgb)
    (tags,) = struct.unpack_from("!I", data, 128)
    for number in range(tags):
        name, _, _ = struct.unpack_from("!4sII", data, 132 + 12 * number)
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            struct.pack_into("!II", data, 136 + 12 * number, len(data), len(curve))
    data += curve
    struct.pack_into("!I", data, 0, len(data))
    return bytes(data)
