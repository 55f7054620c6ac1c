"""Image files from outside: which may be opened at all, and what is wrong with one that cannot be decoded.

A file is looked through before Pillow decodes it, because a small one can ask for hours of work: by its
pixels, or by the number of its scans, tiles or notes.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
import struct
from collections.abc import Iterator

from PIL import Image

from handlers.errors import (
    EMPTY_ITEM,
    IMAGE_TOO_LARGE,
    IMAGE_TOO_MANY_BYTES,
    IMAGE_TRUNCATED,
    IMAGE_UNDECODABLE,
    ItemFault,
)

# Pillow refuses by itself what has more than twice its MAX_IMAGE_PIXELS; no limit of ours can exceed that.
LARGEST_MAX_PIXELS = 178_956_970
# The longest side a JPEG can have. A longer one in another format is no photograph, and decoding costs by
# rows as well as by pixels.
MAX_SIDE = 65_535
# libtiff's limit for the JPEGs it decodes; a progressive photograph has about ten. A scan of 80 bytes can
# cost as much as the whole picture, so a small file of thousands would hold up a worker for hours.
MAX_SCANS = 100
# Strips or tiles of a TIFF, each of which costs Pillow microseconds, also where they lie over one another.
# The largest image that is allowed by default has fewer of 16×16.
MAX_TILES = 200_000
# A longer compressed text in a PNG is not unpacked: it may come to more than Pillow's limit, a megabyte.
MAX_PACKED_NOTE = 65_536
_TILE_TAGS = (273, 324)  # StripOffsets, TileOffsets
_PNG = b"\x89PNG\r\n\x1a\n"
# A marker that a length follows, or the end; not stuffing, padding, a restart or another without a length.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")


class ImageError(ItemFault):
    """An image cannot be embedded; `code` is one of the image codes of `handlers.errors`."""


@functools.cache
def supported_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are decoded; an allow-list keeps obscure decoders out of reach."""
    Image.init()  # Loads the decoders, which would otherwise happen within the first request.
    wanted = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
    return tuple(name for name in wanted if name in Image.OPEN)


def open_image(data: bytes, *, max_pixels: int, max_bytes: int) -> Image.Image:
    """Encoded image bytes → the image, its header read and checked, nothing decoded; use within `faults_of`.

    Raises:
        ImageError: `empty_item`, `image_too_many_bytes` or `image_too_large`.
        Exception: whatever Pillow raises.
    """
    if not data:
        raise ImageError(EMPTY_ITEM, "the image has no bytes")
    if len(data) > max_bytes:
        raise ImageError(
            IMAGE_TOO_MANY_BYTES, f"the image has {len(data):,} bytes; at most {max_bytes:,} are allowed"
        )
    if data.startswith(b"\xff\xd8\xff") and _scans(data) > MAX_SCANS:
        raise ImageError(
            IMAGE_UNDECODABLE, f"the JPEG has more than {MAX_SCANS} scans; save it as an ordinary one"
        )
    if data.startswith((b"II", b"MM")) and _tiles(data) > MAX_TILES:
        raise ImageError(
            IMAGE_UNDECODABLE,
            f"the TIFF has more than {MAX_TILES:,} strips or tiles; save it with larger ones",
        )
    image = Image.open(io.BytesIO(_without_notes(data)), formats=supported_formats())
    check_size(image, max_pixels)
    return image


@contextlib.contextmanager
def faults_of(data: bytes, *, max_pixels: int) -> Iterator[None]:
    """Turn what Pillow raises over these bytes into an ImageError that says what is wrong with them."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            IMAGE_TOO_LARGE, f"the image has far too many pixels; at most {max_pixels:,} are allowed"
        ) from error
    except Exception as error:  # Pillow's decoders raise nearly every built-in exception on broken data.
        raise _undecodable(data, error) from error


def check_size(image: Image.Image, max_pixels: int) -> None:
    """Raises ImageError, `image_too_large`, when the image has too many pixels or too long a side."""
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            IMAGE_TOO_LARGE,
            f"the image is {width}×{height} = {width * height:,} pixels; at most {max_pixels:,} are allowed",
        )
    if max(width, height) > MAX_SIDE:
        raise ImageError(
            IMAGE_TOO_LARGE, f"the image is {width}×{height} pixels; at most {MAX_SIDE:,} a side are allowed"
        )


def _scans(jpeg: bytes) -> int:
    """How often a JPEG's pixels are gone through, counted to one more than is allowed."""
    count, place = 0, 2
    while count <= MAX_SCANS and (found := _JPEG_MARKER.search(jpeg, place)):
        if found[1] == b"\xd9":  # its end; what a camera appends is not decoded
            break
        count += found[1] == b"\xda"
        # A segment is skipped whole, because it may hold a thumbnail with markers of its own.
        place = found.end() + int.from_bytes(jpeg[found.end() : found.end() + 2], "big")
    return count


def _tiles(tiff: bytes) -> int:
    """How many strips or tiles the first page of a TIFF names, as far as it can be read."""
    order, most = "<" if tiff.startswith(b"II") else ">", 0
    large = tiff[2:3] == b"\x2b"  # BigTIFF
    header, count_of, entry = ("8xQ", "Q", "HHQ8x") if large else ("4xI", "H", "HHI4x")
    with contextlib.suppress(struct.error, OverflowError):
        (place,) = struct.unpack_from(order + header, tiff)
        (entries,) = struct.unpack_from(order + count_of, tiff, place)
        place += struct.calcsize(order + count_of)
        for number in range(entries):
            tag, _, count = struct.unpack_from(
                order + entry, tiff, place + number * struct.calcsize(order + entry)
            )
            most = max(most, count if tag in _TILE_TAGS else 0)
    return most


def _without_notes(data: bytes) -> bytes:
    """A PNG without its colour profiles and large compressed texts; any other file as it is.

    Pillow would unpack every one of them, and refuse the picture for one of more than a megabyte. No vector
    depends on them, but the orientation may stand in a small text.
    """
    if not data.startswith(_PNG) or not any(kind in data for kind in (b"iCCP", b"zTXt", b"iTXt")):
        return data
    kept, place = [_PNG], len(_PNG)
    while place < len(data):
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        end = place + 12 + length
        after_name = data[place + 8 : place + 8 + 81].partition(b"\0")[2]
        packed = kind == b"zTXt" or (kind == b"iTXt" and after_name.startswith(b"\1"))
        if kind != b"iCCP" and not (packed and length > MAX_PACKED_NOTE):
            kept.append(data[place:end])
        place = end
    return b"".join(kept)


def _undecodable(data: bytes, error: Exception) -> ImageError:
    """What to tell the caller about bytes that Pillow could not decode; nothing of Pillow's own words."""
    if isinstance(error, EOFError) or "truncated" in str(error).lower() or _ends_early(data):
        return ImageError(
            IMAGE_TRUNCATED, f"the image ends too early, after {len(data):,} bytes; send the whole file"
        )
    allowed = ", ".join(supported_formats())
    return ImageError(
        IMAGE_UNDECODABLE, f"the bytes are no image that can be decoded; supported formats: {allowed}"
    )


def _ends_early(data: bytes) -> bool:
    """Whether the bytes begin as an image file of a known format and lack that format's end."""
    if data.startswith(b"\xff\xd8\xff"):
        return b"\xff\xd9" not in data[-1024:]
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"IEND" not in data[-1024:]
    if data.startswith((b"GIF87a", b"GIF89a")):
        return not data.rstrip(b"\0").endswith(b";")
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return int(struct.unpack("<I", data[4:8])[0]) + 8 > len(data)
    return False
