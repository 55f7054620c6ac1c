"""Image files from outside: which may be decoded at all, and what is wrong with one that cannot be.

A file is looked through before Pillow decodes it, because a small one can ask for hours of work: by its
pixels, or by the number of its scans, tiles or compressed texts.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import struct
from collections.abc import Iterator

from PIL import Image, UnidentifiedImageError, features
from PIL.JpegImagePlugin import JpegImageFile

from handlers.errors import (
    EMPTY_ITEM,
    IMAGE_TOO_LARGE,
    IMAGE_TOO_MANY_BYTES,
    IMAGE_TRUNCATED,
    IMAGE_UNDECODABLE,
    ItemError,
)
from handlers.limits import BYTES_PER_PIXEL, MAX_SIDE
from handlers.preprocess import jpeg, jpegxl
from handlers.preprocess.memory import Memory

# Strips or tiles of a TIFF, each of which costs Pillow microseconds, also where they lie over one another.
# The largest image that is allowed by default has fewer of 16×16.
MAX_TILES = 200_000
# Bytes of a compressed text in a PNG; a longer one is not unpacked, as it may come to more than Pillow's
# limit, a megabyte.
MAX_COMPRESSED_TEXT = 65_536
_TILE_TAGS = (273, 324)  # StripOffsets, TileOffsets
_PNG = b"\x89PNG\r\n\x1a\n"
# Formats that Pillow decodes into rows of bytes in one step. Others have frames and planes of their own.
_PLAIN_FORMATS = ("JPEG", "PNG", "BMP", "TIFF")
_PLAIN_MODES = ("1", "L", "RGB", "CMYK", "YCbCr")
# The major brands of ISO files that hold such images.
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")


class ImageError(ItemError):
    """An image cannot be embedded; `code` is one of the image codes of `handlers.errors`."""


@functools.cache
def supported_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are decoded; an allow-list keeps obscure decoders out of reach.

    HEIC and JPEG XL are among them where their packages are installed, pillow-heif and pillow-jxl-plugin.
    """
    Image.init()  # Loads the decoders, which would otherwise happen within the first request.
    with contextlib.suppress(ImportError):
        # One thread for an image: several images are decoded at a time.
        importlib.import_module("pillow_heif").register_heif_opener(decode_threads=1, thumbnails=False)
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_jxl")  # Registers itself.
    wanted = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "JXL")
    there = (name for name in wanted if name in Image.OPEN)
    return tuple(name for name in there if name != "AVIF" or features.check("avif"))


def begins_as_image(data: bytes) -> bool:
    """Whether the bytes begin as a file of a supported format does; the rest may still be broken."""
    tests = (Image.OPEN[name][1] for name in supported_formats())
    return any(test is None or test(data[:16]) is True for test in tests)


@contextlib.contextmanager
def decoded(
    data: bytes,
    *,
    size: int,
    max_pixels: int,
    max_bytes: int,
    reduction: float = 0.0,
    memory: Memory | None = None,
) -> Iterator[Image.Image]:
    """Encoded image bytes → the image. Its header is read and checked before anything is decoded.

    A JPEG is decoded at the scale of `jpeg.scale_for`, and `max_pixels` counts what comes of it. What Pillow
    raises within the block too becomes an ImageError that says what is wrong with the bytes.

    Args:
        size: pixels of a side of the tower's input.
        reduction: as a multiple of `size`, how little of its shortest side a JPEG may be decoded to; 0: it is
            decoded in full where that is allowed.
        memory: shared by the threads that decode; what the image needs of it is taken until the block ends.

    Raises:
        ImageError: `empty_item`, `image_too_many_bytes`, `image_too_large`, `image_truncated` or
            `image_undecodable`.
    """
    if not data:
        raise ImageError(EMPTY_ITEM, "the image has no bytes")
    if len(data) > max_bytes:
        raise ImageError(
            IMAGE_TOO_MANY_BYTES, f"the image has {len(data):,} bytes; at most {max_bytes:,} are allowed"
        )
    with contextlib.ExitStack() as taken:
        try:
            if data.startswith(b"\xff\xd8\xff"):
                image, needed = _open_jpeg(data, size, max_pixels, reduction)
            elif jpegxl.is_jpeg_xl(data):
                _check_size(*jpegxl.read_size(data), max_pixels)
                image, needed = None, BYTES_PER_PIXEL * max_pixels  # Its decoder decodes when it opens.
            else:
                image = _open(data)
                _check_size(*image.size, max_pixels)
                needed = image.width * image.height * (8 if _is_plain(image) else 24)
            if memory is not None:
                taken.enter_context(memory.taking(needed))
            image = image or _open(data)
            image.load()
            _check_size(*image.size, max_pixels)  # Some formats tell their true size only now.
            yield image
        except (ImageError, MemoryError):
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ImageError(
                IMAGE_TOO_LARGE, f"the image has far too many pixels; at most {max_pixels:,} are allowed"
            ) from error
        except Exception as error:  # Pillow's decoders raise nearly every built-in exception on broken data.
            raise _undecodable(data, error) from error


def _open(data: bytes) -> Image.Image:
    """As Image.open, without its warning of many pixels: how many are too many is for this tower to say."""
    if data.startswith((b"II", b"MM")) and _tiles(data) > MAX_TILES:
        raise ImageError(
            IMAGE_UNDECODABLE,
            f"the TIFF has more than {MAX_TILES:,} strips or tiles; save it with larger ones",
        )
    data = _without_ancillary_chunks(data)
    for name in supported_formats():
        factory, accepts = Image.OPEN[name]
        if accepts is None or accepts(data[:16]) is True:
            # Several formats share the brands of their files.
            with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):
                return factory(io.BytesIO(data), "")
    raise UnidentifiedImageError("no decoder takes it")


def _open_jpeg(data: bytes, size: int, max_pixels: int, reduction: float) -> tuple[Image.Image, int]:
    """A JPEG, the first where it holds several, set to its scale; and the bytes that decoding it takes."""
    structure = jpeg.read_structure(data)
    if structure.scans > jpeg.MAX_SCANS:
        raise ImageError(
            IMAGE_UNDECODABLE, f"the JPEG has more than {jpeg.MAX_SCANS} scans; save it as an ordinary one"
        )
    image = JpegImageFile(io.BytesIO(data))
    width, height = image.size
    scale = jpeg.scale_for(width, height, structure, max_pixels=max_pixels, size=size, reduction=reduction)
    if scale is None:
        raise ImageError(
            IMAGE_TOO_LARGE,
            f"the JPEG is {width}×{height} = {width * height:,} pixels; at most {max_pixels:,} are allowed,"
            f" or {jpeg.REDUCED * max_pixels:,} ({jpeg.HELD * max_pixels:,} if progressive) where a half or a"
            f" quarter of its size has no more than that and at least {jpeg.LEFT * size:,} a side",
        )
    if scale > 1:
        image.draft(None, (width // scale, height // scale))
    return image, width * height * structure.held + image.width * image.height * 8


def _check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises ImageError, `image_too_large`, when there are too many pixels or too long a side."""
    if width * height > max_pixels:
        raise ImageError(
            IMAGE_TOO_LARGE,
            f"the image is {width}×{height} = {width * height:,} pixels; at most {max_pixels:,} are allowed;"
            " only a JPEG may have more",
        )
    if max(width, height) > MAX_SIDE:
        raise ImageError(
            IMAGE_TOO_LARGE, f"the image is {width}×{height} pixels; at most {MAX_SIDE:,} a side are allowed"
        )


def _is_plain(image: Image.Image) -> bool:
    """Whether decoding takes no more than the picture itself and its copy of three bytes per pixel."""
    return image.format in _PLAIN_FORMATS and image.mode in _PLAIN_MODES and not image.has_transparency_data


def _tiles(tiff: bytes) -> int:
    """How many strips or tiles the first page of a TIFF lists, as far as it can be read."""
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


def _without_ancillary_chunks(data: bytes) -> bytes:
    """A PNG without its ancillary chunks of colour profiles and large compressed texts; other files as is.

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
        compressed = kind == b"zTXt" or (kind == b"iTXt" and after_name.startswith(b"\1"))
        if kind != b"iCCP" and not (compressed and length > MAX_COMPRESSED_TEXT):
            kept.append(data[place:end])
        place = end
    return b"".join(kept)


def _undecodable(data: bytes, error: Exception) -> ImageError:
    """What to tell the caller about bytes that Pillow could not decode, in words of our own."""
    formats = supported_formats()
    lacking = _lacking(data, formats)
    if lacking:
        return ImageError(IMAGE_UNDECODABLE, f"{lacking}; supported formats: {', '.join(formats)}")
    if isinstance(error, EOFError) or "truncated" in str(error).lower() or _ends_early(data):
        return ImageError(
            IMAGE_TRUNCATED, f"the image ends too early, after {len(data):,} bytes; send the whole file"
        )
    return ImageError(
        IMAGE_UNDECODABLE,
        f"the bytes are no image that can be decoded; supported formats: {', '.join(formats)}",
    )


def _lacking(data: bytes, formats: tuple[str, ...]) -> str:
    """What has to be installed for a known format that is not decoded here; empty for any other bytes."""
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in _HEIC_BRANDS and "HEIF" not in formats:
        return "a HEIC image needs the package pillow-heif beside the model: install it there, or send a JPEG"
    if brand in _AVIF_BRANDS and "AVIF" not in formats:
        return "an AVIF image needs Pillow 11.3 or later beside the model: install it there, or send a JPEG"
    if jpegxl.is_jpeg_xl(data) and "JXL" not in formats:
        return (
            "a JPEG XL image needs the package pillow-jxl-plugin beside the model: install it there, or send"
            " a JPEG"
        )
    return ""


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
    if data[4:8] in (b"ftyp", b"JXL "):
        return _box_ends_early(data)
    return False


def _box_ends_early(data: bytes) -> bool:
    """Whether a file of ISO boxes, as AVIF, HEIC and JPEG XL are, lacks the end of its last one."""
    place = 0
    while place <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        if length == 1:
            length = int.from_bytes(data[place + 8 : place + 16], "big")
        if length < 8:  # 0: to the end of the file.
            return False
        place += length
    return True
