"""Encoded images to pixels by serving's own preprocessing, with one exception for all that is wrong."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from handlers import limits
from handlers.errors import ItemError
from handlers.preprocess.reference import Resize, decode_image

MAX_PIXELS = limits.MAX_PIXELS
MAX_BYTES = limits.MAX_IMAGE_BYTES


class Readable(Protocol):
    def read(self, most: int = -1) -> bytes:
        """At most `most` bytes, all when negative. Raises OSError."""
        ...


class BrokenImage(Exception):
    """An image that cannot be used; `reason` is one of the image codes of docs/errors.md, or `unreadable`."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(reason, sentence)
        self.reason = reason
        self.sentence = sentence


def decode(
    data: bytes,
    *,
    size: int,
    resize: Resize = "bicubic",
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> NDArray[np.uint8]:
    """Encoded image bytes → uint8 [size, size, 3].

    Raises:
        BrokenImage: the bytes are no whole image within the limits.
    """
    try:
        return decode_image(data, size=size, resize=resize, max_pixels=max_pixels, max_bytes=max_bytes)
    except ItemError as fault:
        raise BrokenImage(fault.code, fault.message) from fault


def read_whole(image: Readable, max_bytes: int = MAX_BYTES) -> bytes:
    """The encoded image; of one that is too large, just enough to tell.

    Raises:
        BrokenImage: `unreadable`.
    """
    try:
        return image.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        raise BrokenImage("unreadable", str(error)) from error
