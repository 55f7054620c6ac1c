"""JPEG files: the work that decoding takes, read from the markers, and the scale at which one is decoded.

libjpeg decodes at 1/2, 1/4 or 1/8 of the size within the inverse cosine transform, row by row, so a large
photograph costs little more memory than its reduced picture. Not so where several scans make one picture, as
in a progressive JPEG: then the coefficients of all of it are held, at any scale.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SCALES = (2, 4, 8)
# libtiff's limit for the JPEGs it decodes; a progressive photograph has about ten. A scan of 80 bytes can
# cost as much as the whole picture, so a small file of thousands would hold up a worker for hours.
MAX_SCANS = 100
# How many times `max_pixels` a JPEG may have that is decoded reduced. At these sizes it takes about the time
# and the memory that a picture of `max_pixels` takes in full: a coefficient that is held has two bytes.
REDUCED, HELD = 8, 4
# What must be left of the shortest side, as a multiple of the tower's input size. Of photographs so reduced
# mini's vectors have a cosine of 0.9998 and more with those of the full decoding, 0.998 for odd sizes.
LEFT = 2

_PROGRESSIVE = frozenset(b"\xc2\xc6\xca\xce")
_FRAMES = frozenset(b"\xc0\xc1\xc2\xc3\xc5\xc6\xc7\xc9\xca\xcb\xcd\xce\xcf")
# A marker that a length follows, or the end; not stuffing, padding, a restart or another without a length.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")


@dataclass(frozen=True)
class Structure:
    """What the markers of a JPEG say about the work of decoding it."""

    scans: int
    """How often its pixels are gone through, counted to one more than `MAX_SCANS`."""
    held: int
    """Bytes of each pixel that are held until the last scan is read; 0: it is decoded row by row."""


def read_structure(jpeg: bytes) -> Structure:
    """The markers of a JPEG up to its end; what a camera appends is not decoded."""
    scans, components, held, place = 0, 0, False, 2
    while scans <= MAX_SCANS and (found := _MARKER.search(jpeg, place)):
        marker, start = found[1][0], found.end()
        if marker == 0xD9:
            break
        if marker in _FRAMES:
            components = jpeg[start + 7] if len(jpeg) > start + 7 else 0
            held = held or marker in _PROGRESSIVE
        elif marker == 0xDA:
            scans += 1
            held = held or scans > 1 or jpeg[start + 2 : start + 3] < bytes([components])
        # A segment is skipped whole, because it may hold a thumbnail with markers of its own.
        place = start + int.from_bytes(jpeg[start : start + 2], "big")
    return Structure(scans, 2 * max(components, 1) if held else 0)


def scale_for(
    width: int, height: int, structure: Structure, *, max_pixels: int, size: int, reduction: float
) -> int | None:
    """The scale 1, 2, 4 or 8 at which a JPEG is decoded for a tower of `size`; None where none is allowed.

    With a `reduction` it is the largest that leaves so many times `size` of the shortest side. A JPEG of more
    than `max_pixels` is decoded at the smallest scale that makes it fit, with any reduction or none.
    """
    pixels = width * height
    if pixels > max_pixels and (
        pixels > max_pixels * (HELD if structure.held else REDUCED)
        or pixels * structure.scans > max_pixels * MAX_SCANS
    ):
        return None
    scale = _thrifty(width, height, reduction * size) if reduction else 1
    if pixels <= max_pixels * scale * scale:
        return scale
    # The pixel that an odd size is rounded up by is hardly seen in what is left.
    for scale in SCALES:
        reduced = -(-width // scale), -(-height // scale)
        if reduced[0] * reduced[1] <= max_pixels and min(reduced) >= LEFT * size:
            return scale
    return None


def _thrifty(width: int, height: int, shortest: float) -> int:
    for scale in reversed(SCALES):
        # libjpeg rounds an odd size up, which would stretch the image.
        exact = width % scale == 0 and height % scale == 0
        if exact and min(width, height) >= scale * shortest:
            return scale
    return 1
