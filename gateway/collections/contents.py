"""The originals of items: what was uploaded, and files below folders that the operator allows.

A source is what a caller says it is, so it is never a path by itself: a file is given back only where what it
leads to, links followed, lies below an allowed folder, and only as an image or a film, by its own bytes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from babelclip.index import Row
from gateway.collections import uploads

_HEAD = 32  # bytes that tell what a file is
_BEGINNINGS = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"\x00\x00\x00\x0cJXL ", "image/jxl"),
    (b"\xff\x0a", "image/jxl"),
    (b"\x1aE\xdf\xa3", "video/webm"),
)
# The brands of ISO's media files, by their first letters.
_BRANDS = (
    (b"avi", "image/avif"),
    (b"hei", "image/heic"),
    (b"hev", "image/heic"),
    (b"mif1", "image/heif"),
    (b"qt  ", "video/quicktime"),
    (b"", "video/mp4"),
)


@dataclass(frozen=True)
class Content:
    """A file that may be given back.

    Attributes:
        kind: its media type.
        etag: changes when the file does.
    """

    path: Path
    kind: str
    size: int
    etag: str


class Contents:
    """Finds the originals of items.

    Args:
        roots: the folders that are allowed, by absolute paths.
    """

    def __init__(self, roots: Sequence[str]) -> None:
        self._named = [os.path.normpath(root) + os.sep for root in roots]
        self._roots = [os.path.realpath(root) + os.sep for root in roots]

    def may_have(self, row: Row) -> bool:
        """Whether there may be an original of a row, as far as its source tells."""
        if row.source.startswith(uploads.SOURCE):
            return bool(row.checksum)
        return self._is_named_below(row.source)

    def find(self, folder: Path, row: Row) -> Content | None:
        """The original of a row of the collection in `folder`; None where there is none to be given back."""
        if row.source.startswith(uploads.SOURCE):
            path = uploads.path_of(folder, row.checksum)
            return None if path is None else _content(path)
        if not self._is_named_below(row.source):
            return None
        real = os.path.realpath(row.source)
        if not any(real.startswith(root) for root in self._roots):
            return None
        return _content(Path(real))

    def _is_named_below(self, source: str) -> bool:
        if "\0" in source or not source.startswith(os.sep):
            return False
        plain = os.path.normpath(source)
        return any(plain.startswith(root) for root in self._named)


def _content(path: Path) -> Content | None:
    try:
        # Not to wait for who writes to a pipe, and no link any more.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        kind = kind_of(os.read(descriptor, _HEAD))
    finally:
        os.close(descriptor)
    if kind is None:
        return None
    return Content(path, kind, status.st_size, f'"{status.st_mtime_ns:x}-{status.st_size:x}"')


def kind_of(head: bytes) -> str | None:
    """The media type of an image or a film by its first bytes; None for anything else, a page among them."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":  # Two letters alone may begin a text.
        return "image/bmp"
    if head[4:8] == b"ftyp":
        return next(kind for brand, kind in _BRANDS if head[8:12].startswith(brand))
    return next((kind for beginning, kind in _BEGINNINGS if head.startswith(beginning)), None)
