"""The originals of uploads, in a collection's folder: called by their checksum, never by a caller's name."""

from __future__ import annotations

import re
from pathlib import Path

from babelclip.atomic_files import replacing
from babelclip.index import Index

SOURCE = "upload:"
"""What the source of an item begins with whose original is kept; the rest is what the caller called it."""
_FOLDER = "uploads"
_CHECKSUM = re.compile(r"[0-9a-f]{64}")


def path_of(folder: Path, checksum: str) -> Path | None:
    """Where the original of a checksum is kept in the folder of a collection; None for what is none."""
    if not _CHECKSUM.fullmatch(checksum):
        return None
    return folder / _FOLDER / checksum[:2] / checksum


def keep(folder: Path, checksum: str, data: bytes) -> None:
    """Keep an original; the same bytes are kept once."""
    path = path_of(folder, checksum)
    assert path is not None
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as (partial,):
        partial.write_bytes(data)


def forget(folder: Path, index: Index, checksums: set[str]) -> None:
    """Delete the originals that no item of the index has any more."""
    for checksum in checksums:
        path = path_of(folder, checksum)
        if path is not None and not index.count({"checksum": checksum, "source": {"$prefix": SOURCE}}):
            path.unlink(missing_ok=True)
