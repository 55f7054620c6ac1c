"""The images of a folder and of all folders below it, found by their names, else by how their bytes begin."""

from __future__ import annotations

import fnmatch
import mimetypes
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from babelclip.item_errors import UNREADABLE_FOLDER

# The formats that the vision tower decodes; HEIC and JPEG XL where it has their packages, else it says so.
SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib"),
        *(".tif", ".tiff", ".avif", ".avifs", ".heic", ".heif", ".heics", ".heifs", ".hif", ".jxl"),
    )
)
EXCLUDED = (
    *(".*", "lost+found"),  # hidden, AppleDouble's ._* and thumbnails of file managers among them
    *("@eaDir", "#recycle", "#snapshot"),  # Synology: thumbnails, deleted files, older states
    *("@Recycle", "@Recently-Snapshot", "@__thumb"),  # QNAP: the same
    *("$RECYCLE.BIN", "RECYCLER", "System Volume Information"),  # Windows
    *("__MACOSX", "*.photoslibrary/resources", "*.photolibrary/Thumbnails", "*.lrdata"),  # previews
    "node_modules",
)
"""What is left out unless asked for: patterns of names, or of paths where they hold a slash."""

# Bytes that show a format, from the file's beginning. Not TIFF's: cameras' raw files begin in the same way.
_LONGEST = 32
_ISO_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_BEGINNINGS = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"\xff\x0a",
    b"\0\0\0\x0cJXL \r\n\x87\n",
)
_BITMAP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes; "BM" alone begins many a text

_TYPES = mimetypes.MimeTypes()  # Python's own table, without what this machine adds


@dataclass(frozen=True)
class Skipped:
    """A file that has no vector, or a folder: its path, a word for programs, a sentence for people."""

    path: str
    code: str
    message: str

    def as_json(self) -> dict[str, str]:
        """The same, by name."""
        return asdict(self)


@dataclass(frozen=True)
class Found:
    """The images below a folder, sorted by path, and the folders that could not be looked into."""

    images: list[Path]
    skipped: list[Skipped]


def find_images(
    folder: Path, *, exclude: Iterable[str] = (), exclude_defaults: bool = True, links: bool = True
) -> Found:
    """Every image below `folder`: by its suffix, in any case, or by its first bytes where that says nothing.

    Links to folders are not followed, so a link that leads back up ends nothing. What is no image after all
    shows when it is embedded.

    Args:
        exclude: patterns with `*`, `?` and `[…]`, in any case, of names of files and folders; one with a
            slash is of paths below `folder`. Nothing below a folder that is left out is looked at.
        exclude_defaults: leave out what `EXCLUDED` names, too.
        links: whether a link to a file stands for it, wherever that lies; else it is left out.

    Raises:
        OSError: `folder` itself cannot be listed. Folders below it that cannot are in `skipped`.
    """
    patterns = [*(EXCLUDED if exclude_defaults else ()), *exclude]
    excluded = [pattern.rstrip("/").casefold() for pattern in patterns]
    images: list[Path] = []
    skipped: list[Skipped] = []
    pending = [""]  # paths below `folder`
    while pending:
        below = pending.pop()
        try:
            with os.scandir(folder / below) as listing:
                entries = list(listing)
        except OSError as error:
            if not below:
                raise
            reason = f"cannot list {folder / below}: {error.strerror or type(error).__name__}"
            skipped.append(Skipped(str(folder / below), UNREADABLE_FOLDER, reason))
            continue
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            if _matches(entry.name, path, excluded) or (entry.is_symlink() and not links):
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append(path)
            elif _is_image(entry):
                images.append(folder / path)
    return Found(sorted(images), sorted(skipped, key=lambda skip: skip.path))


def _matches(name: str, path: str, patterns: list[str]) -> bool:
    name, path = name.casefold(), path.casefold()
    return any(fnmatch.fnmatchcase(path if "/" in pattern else name, pattern) for pattern in patterns)


def _is_image(entry: os.DirEntry[str]) -> bool:
    if os.path.splitext(entry.name)[1].lower() in SUFFIXES:
        return not (entry.is_symlink() and os.path.isdir(entry.path))
    # Opening every file of a large disk takes its time: a suffix that is known is believed.
    if _TYPES.guess_type(entry.name)[0] is not None:
        return False
    try:
        if not entry.is_file():  # Opening a pipe would wait for a writer.
            return False
        with open(entry.path, "rb", buffering=0) as file:
            return _begins_as_image(file.read(_LONGEST))
    except OSError:  # It has no name of an image, so it is most likely none.
        return False


def _begins_as_image(data: bytes) -> bool:
    if data[:4] == b"RIFF":
        return data[8:12] == b"WEBP"
    if data[4:8] == b"ftyp":
        return data[8:12] in _ISO_BRANDS
    if data[:2] == b"BM":
        return int.from_bytes(data[14:18], "little") in _BITMAP_HEADERS
    return data.startswith(_BEGINNINGS)
