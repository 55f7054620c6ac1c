"""What may be passed as a text or an image, and what is said of the rest."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from babelclip.errors import ItemError
from babelclip.items import image_items, text_items

LIMIT = 6_000_000


def only(items) -> bytes | ItemError:
    """The single element."""
    (item,) = items
    return item


def png(**options) -> bytes:
    """A small encoded image."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 2), "red").save(buffer, "PNG", **options)
    return buffer.getvalue()


def decoded(item: bytes | ItemError) -> np.ndarray:
    """The pixels of an item that was encoded here."""
    assert isinstance(item, bytes), item
    return np.asarray(Image.open(io.BytesIO(item)))


def test_texts_become_utf8() -> None:
    """Every script travels, in order, and what is no text fails alone."""
    first, second, third, fourth = text_items(["ein Herz", "心", "\ud800", 7])  # type: ignore[list-item]
    assert (first, second) == (b"ein Herz", "心".encode())
    assert isinstance(third, ItemError)
    assert (third.index, third.code) == (2, "invalid_utf8")
    assert isinstance(fourth, ItemError)
    assert (fourth.index, fourth.code) == (3, "invalid_item")


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_encoded_bytes_travel_untouched(make) -> None:
    """A client that re-encodes an image changes its vector."""
    assert only(image_items([make(b"\xff\xd8any")], LIMIT)) == b"\xff\xd8any"


@pytest.mark.parametrize("make", [str, Path])
def test_files_travel_untouched(make, tmp_path: Path) -> None:
    """A path stands for the bytes of its file."""
    (tmp_path / "a.png").write_bytes(png())
    assert only(image_items([make(tmp_path / "a.png")], LIMIT)) == png()


def test_unreadable_files_fail_alone(tmp_path: Path) -> None:
    """A missing file, a folder, a pipe and an impossible name each say why, and their neighbours go on."""
    os.mkfifo(tmp_path / "pipe")
    good = tmp_path / "good"
    good.write_bytes(b"x")
    bad = [tmp_path / "missing", tmp_path, tmp_path / "pipe", "nul\0byte", "\ud800"]
    *items, last = image_items([*bad, good], LIMIT)
    assert last == b"x"
    assert [item.code for item in items if isinstance(item, ItemError)] == ["unreadable_file"] * 5
    assert isinstance(items[0], ItemError)
    assert "No such file" in items[0].message


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    """A file that no message can carry costs a look at its size, not its bytes."""
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    item = only(image_items([tmp_path / "huge"], LIMIT))
    assert isinstance(item, ItemError)
    assert item.code == "image_too_many_bytes"


@pytest.mark.parametrize("shape", [(2, 3, 3), (2, 3)])
def test_arrays_arrive_as_the_same_pixels(shape: tuple[int, ...]) -> None:
    """PNG is lossless: the tower sees exactly the array."""
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    np.testing.assert_array_equal(decoded(only(image_items([pixels], LIMIT))), pixels)


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2), np.float32), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 2), np.uint8)]
)
def test_other_arrays_are_told_what_is_allowed(array: np.ndarray) -> None:
    """A wrong dtype or shape is an error of the item, with the right one in it."""
    item = only(image_items([array], LIMIT))
    assert isinstance(item, ItemError)
    assert item.code == "invalid_item"
    assert "uint8 [H, W, 3]" in item.message


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16", "CMYK", "YCbCr", "F"])
def test_every_pillow_mode_can_be_sent(mode: str) -> None:
    """No mode of an image makes the encoding fail."""
    item = only(image_items([Image.new("L", (3, 2), 1).convert(mode)], LIMIT))
    assert decoded(item).shape[:2] == (2, 3)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_wide_grey_values_are_kept(mode: str) -> None:
    """Values beyond a byte reach the tower, which knows how to scale them."""
    image = Image.new(mode, (3, 2), 40_000)
    np.testing.assert_array_equal(decoded(only(image_items([image], LIMIT))), np.asarray(image))


def test_the_orientation_is_applied() -> None:
    """A photograph opened with Pillow arrives as upright as its file would."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(io.BytesIO(png(exif=exif)))
    assert image.size == (4, 2)
    assert decoded(only(image_items([image], LIMIT))).shape == (4, 2, 3)


def test_a_broken_pillow_image_fails_alone() -> None:
    """Pillow reads pixels late; what breaks then is the item's error."""
    image = Image.open(io.BytesIO(png()[:-30]))
    item = only(image_items([image], LIMIT))
    assert isinstance(item, ItemError)
    assert item.code == "image_undecodable"


@pytest.mark.parametrize(
    "single", ["a.png", b"x", Path("a.png"), Image.new("L", (1, 1)), np.zeros((2, 2, 3), np.uint8)]
)
def test_one_image_is_not_a_list(single) -> None:
    """A forgotten pair of brackets is noticed, instead of every letter of a path being opened."""
    with pytest.raises(TypeError, match="list of images"):
        image_items(single, LIMIT)


def test_one_text_is_not_a_list() -> None:
    """A forgotten pair of brackets is noticed, instead of every letter being embedded."""
    with pytest.raises(TypeError, match="list of texts"):
        text_items("a cat")
