"""Image files, sound and broken, and the ways to break any bytes."""

from __future__ import annotations

import functools
import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, features


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _png(width: int, height: int, depth: int, colour: int, rows: bytes, *more: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    framed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@functools.cache
def images() -> tuple[bytes, ...]:
    """Sound images of every format, in many of its forms."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    picture, smooth = Image.fromarray(noise), Image.linear_gradient("L").resize((90, 70)).convert("RGB")
    made = []
    for image in (picture, smooth, picture.resize((1, 1)), picture.resize((3, 400))):
        made += [_saved(image, kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")]
    made += [_saved(picture, "JPEG", progressive=True), _saved(picture.convert("CMYK"), "JPEG")]
    made += [_saved(picture.convert("L"), "JPEG", restart_marker_blocks=1)]
    made += [_saved(picture.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGBA")]
    made += [_saved(picture.convert(mode), "TIFF") for mode in ("1", "L", "P", "RGBA", "CMYK", "I", "F")]
    # Not converted: Pillow would leave in it whatever the memory held.
    made.append(_saved(Image.merge("LAB", picture.split()), "TIFF"))
    for compression in ("tiff_lzw", "tiff_deflate", "packbits", "tiff_adobe_deflate"):
        made.append(_saved(picture, "TIFF", compression=compression))
    made.append(_saved(picture, "TIFF", compression="jpeg"))
    made.append(_saved(picture.convert("1"), "TIFF", compression="group4"))
    made += [_saved(picture.convert(mode), "BMP") for mode in ("1", "L", "P", "RGBA")]
    made += [_saved(picture, "WEBP", lossless=True), _saved(picture.convert("RGBA"), "WEBP")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        made.append(_saved(picture, kind, save_all=True, append_images=[smooth.resize(picture.size)]))
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        made.append(_saved(picture, kind, exif=exif))
    made.append(_saved(picture, "PNG", interlace=1))
    made.append(_png(9, 5, 16, 2, bytes((1 + 6 * 9) * 5)))
    made.append(_png(9, 5, 8, 2, bytes((1 + 3 * 9) * 5), (b"iCCP", b"x\0\0" + zlib.compress(bytes(10_000)))))
    made.append(_png(9, 5, 8, 2, bytes((1 + 3 * 9) * 5), (b"zTXt", b"x\0\0" + zlib.compress(bytes(10_000)))))
    if features.check("avif"):
        made.append(_saved(picture, "AVIF"))
    return tuple(made)


def junk(rng: random.Random, most: int = 64) -> bytes:
    """Up to `most` random bytes."""
    return rng.randbytes(rng.randint(0, most))


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data))]


def _flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(rng: random.Random, data: bytes) -> bytes:
    """Numbers of a header become extreme ones."""
    place = rng.randint(0, min(len(data), rng.choice((32, 64, 4096))))
    number = rng.choice((0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32)))
    written = number.to_bytes(4, rng.choice(("big", "little")))[: rng.choice((1, 2, 4))]
    return data[:place] + written + data[place + len(written) :]


def _insert(rng: random.Random, data: bytes) -> bytes:
    place = rng.randint(0, len(data))
    return data[:place] + junk(rng) + data[place:]


def _remove(rng: random.Random, data: bytes) -> bytes:
    place = rng.randint(0, len(data))
    return data[:place] + data[place + rng.randint(1, 64) :]


def _repeat(rng: random.Random, data: bytes) -> bytes:
    start = rng.randint(0, len(data))
    piece = data[start : start + rng.randint(1, 200)]
    return data[:start] + piece * rng.randint(2, 50) + data[start:]


def _append(rng: random.Random, data: bytes) -> bytes:
    return data + junk(rng, 500)


def _whole(rng: random.Random, data: bytes) -> bytes:
    return data


_CHANGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(_cut, _flip, _overwrite, _insert, _remove, _repeat, _append, _whole),
)


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The bytes with one to three things wrong with them."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(_CHANGES)(rng, data)
    return data


def image(rng: random.Random) -> bytes:
    """A broken image: changed, or the head of one and the tail of another."""
    one, other = rng.choice(images()), rng.choice(images())
    if rng.random() < 0.15:
        return one[: rng.randint(0, len(one))] + other[rng.randint(0, len(other)) :]
    if rng.random() < 0.03:
        return rng.choice((b"", b"\0", b"GIF89a", b"\xff\xd8\xff", b"%PDF-1.7", b"<svg/>", b"P6 1 1 255 abc"))
    return mutated(rng, one)
