"""Images as they were stored, from folders that the operator allows and from nowhere else.

What a row calls its source is no path by itself: a file is given only where what it leads to, links followed,
lies below an allowed folder, and only as an image, by its own bytes.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Sequence

from babelclip.mcp.library import NotAvailable, Original


class Originals:
    """Reads files below folders.

    Args:
        folders: that are allowed; none for no files at all.

    Raises:
        ValueError: one of them is no folder.
    """

    def __init__(self, folders: Sequence[str | os.PathLike[str]]) -> None:
        for folder in folders:
            if not os.path.isdir(folder):
                raise ValueError(f"there is no folder {os.fspath(folder)} whose originals could be given")
        self._named = [_below(os.path.abspath(folder)) for folder in folders]
        self._real = [_below(os.path.realpath(folder)) for folder in folders]

    def may_have(self, source: str) -> bool:
        """Whether a source is the path of something below an allowed folder, as far as its name tells."""
        if "\0" in source:
            return False
        path = os.path.abspath(source)
        return any(path.startswith(folder) for folder in self._named)

    def read(self, source: str, most_bytes: int) -> Original:
        """The image of a source.

        Raises:
            NotAvailable: it is below no allowed folder, no image, too large, or cannot be read.
        """
        if not self.may_have(source):
            raise NotAvailable("the original of this image is not given: its folder is not allowed")
        real = os.path.realpath(source)
        if not any(real.startswith(folder) for folder in self._real):
            raise NotAvailable("the original of this image is not given: its folder is not allowed")
        data = _read(real, most_bytes)
        media_type = _media_type(data)
        if media_type is None:
            raise NotAvailable("the original is no image that can be read")
        return Original(data, media_type)


def _below(folder: str) -> str:
    return folder.rstrip(os.sep) + os.sep


def _read(path: str, most_bytes: int) -> bytes:
    try:
        # Not to wait for who writes to a pipe, and no link any more.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except OSError:
        raise NotAvailable("the original of this image is not there, or cannot be read") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotAvailable("the original of this image is no file")
        if status.st_size > most_bytes:
            raise NotAvailable(f"the original has {status.st_size:,} bytes; at most {most_bytes:,} are given")
        return file.read(most_bytes)


def _media_type(data: bytes) -> str | None:
    """Of an image, by its bytes; None of anything else."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            media_type = image.get_format_mimetype()
    except Exception:  # Pillow's readers raise nearly anything on what they cannot read.
        return None
    return media_type if media_type and media_type.startswith("image/") else None
