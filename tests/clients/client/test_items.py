"""What may be passed as a text or an image, and what is said of the rest."""

from __future__ import annotations

import base64
import io
import os
import re
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from babelclip.client.items import ImageInput, image_items, text_items
from babelclip.item_errors import ItemError

LIMIT = 6_000_000


def only(items: Iterable[bytes | ItemError]) -> bytes | ItemError:
    """The single element."""
    (item,) = items
    return item


def png(**options: Any) -> bytes:
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
def test_encoded_bytes_travel_untouched(make: Callable[[bytes], ImageInput]) -> None:
    """A client that re-encodes an image changes its vector."""
    assert only(image_items([make(b"\xff\xd8any")], LIMIT)) == b"\xff\xd8any"


@pytest.mark.parametrize("make", [str, Path])
def test_files_travel_untouched(make: Callable[[Path], ImageInput], tmp_path: Path) -> None:
    """A path stands for the bytes of its file."""
    (tmp_path / "a.png").write_bytes(png())
    assert only(image_items([make(tmp_path / "a.png")], LIMIT)) == png()


def test_unreadable_files_fail_alone(tmp_path: Path) -> None:
    """A missing file, a folder, a pipe and an impossible name each say why, and their neighbours go on."""
    os.mkfifo(tmp_path / "pipe")
    good = tmp_path / "good"
    good.write_bytes(b"x")
    bad: list[ImageInput] = [tmp_path / "missing", tmp_path, tmp_path / "pipe", "nul\0byte", "\ud800"]
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


def exif_of(*entries: tuple[int, int, int, bytes], behind: bytes = b"") -> bytes:
    """EXIF notes as a camera may have written them: an orientation of 6, then these entries."""
    packed = [(0x0112, 3, 1, struct.pack("<HH", 6, 0)), *entries]
    fields = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in packed)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(packed)) + fields + struct.pack("<I", 0) + behind


@pytest.mark.parametrize(
    "exif",
    [
        exif_of((282, 10, 1, struct.pack("<I", 38)), behind=struct.pack("<ii", -1, 0)),
        exif_of((256, 9, 1, struct.pack("<i", -1))),
        exif_of((282, 5, 1, struct.pack("<I", 99_999))),
    ],
    ids=["a resolution of -1/0", "a width of -1", "a value behind the end"],
)
@pytest.mark.filterwarnings("ignore:Truncated File Read")
def test_notes_that_cannot_be_written_again_turn_an_image_all_the_same(exif: bytes) -> None:
    """Cameras note values that Pillow reads and cannot write; towers take such files, so the client must."""
    picture = Image.new("RGB", (64, 32), "red")
    picture.paste("blue", (0, 0, 64, 16))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif, quality=95)
    pixels = decoded(only(image_items([Image.open(buffer)], LIMIT)))
    assert pixels.shape == (64, 32, 3)
    assert pixels[32, 28, 2] > 200, "blue is on the right, as in the file turned upright"
    assert pixels[32, 4, 0] > 200, "and red on the left"


def test_every_orientation_is_applied_once() -> None:
    """As Pillow turns it, and without a note that would have the tower turn it again."""
    picture = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", exif=exif)
        item = only(image_items([Image.open(buffer)], LIMIT))
        assert isinstance(item, bytes)
        arrived = Image.open(io.BytesIO(item))
        np.testing.assert_array_equal(
            np.asarray(arrived), np.asarray(ImageOps.exif_transpose(Image.open(buffer)))
        )
        assert arrived.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_transparency_survives_every_mode(mode: str) -> None:
    """What is transparent must be so for the tower, which puts white behind it, in every mode."""
    picture = (
        Image.new("LA", (4, 4), (0, 0)).convert("RGBA" if mode in ("PA", "RGBa") else "LA").convert(mode)
    )
    item = only(image_items([picture], LIMIT))
    assert isinstance(item, bytes), item
    assert np.asarray(Image.open(io.BytesIO(item)).convert("RGBA"))[..., 3].max() == 0


def test_a_data_uri_is_an_image() -> None:
    """Callers of other services hold images so; the bytes in it travel untouched."""
    uri = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    assert only(image_items([uri], LIMIT)) == png()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("https://example.org/cat.jpg", "nothing is fetched"),
        ("s3://bucket/cat.jpg", "nothing is fetched"),
        ("data:text/html,<p>", "nothing is fetched"),
        ("data:image/png;base64,%%%", "not valid base64"),
        (base64.b64encode(png() * 1000).decode(), "cannot read"),
    ],
)
def test_what_is_no_path_says_so_in_few_words(text: str, says: str) -> None:
    """An address is not looked for among the files, and a picture in a text does not fill the message."""
    item = only(image_items([text], LIMIT))
    assert isinstance(item, ItemError)
    assert len(item.message) < 400
    assert re.search(says, item.message)


@pytest.mark.parametrize("kind", ["U", object])
def test_an_array_of_paths_is_many_images(kind: str | type, tmp_path: Path) -> None:
    """What a column of a table or numpy.array(paths) is: as good as the list of them."""
    (tmp_path / "a.png").write_bytes(png())
    paths = np.array([str(tmp_path / "a.png")] * 2, dtype=kind)
    assert list(image_items(paths, LIMIT)) == [png(), png()]


def test_a_broken_pillow_image_fails_alone() -> None:
    """Pillow reads pixels late; what breaks then is the item's error."""
    image = Image.open(io.BytesIO(png()[:-30]))
    item = only(image_items([image], LIMIT))
    assert isinstance(item, ItemError)
    assert item.code == "image_undecodable"


@pytest.mark.parametrize(
    "single", ["a.png", b"x", Path("a.png"), Image.new("L", (1, 1)), np.zeros((2, 2, 3), np.uint8)]
)
def test_one_image_is_not_a_list(single: Any) -> None:
    """A forgotten pair of brackets is noticed, instead of every letter of a path being opened."""
    with pytest.raises(TypeError, match="list of images"):
        image_items(single, LIMIT)


def test_one_text_is_not_a_list() -> None:
    """A forgotten pair of brackets is noticed, instead of every letter being embedded."""
    with pytest.raises(TypeError, match="list of texts"):
        text_items("a cat")
