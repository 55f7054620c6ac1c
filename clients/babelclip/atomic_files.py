"""Files that are replaced whole or not at all, whenever the process is killed or the disk is full."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def partial_path(path: Path, tag: str = "") -> Path:
    """What a file is called while it is written. It is the same each time, so that none is left for good."""
    return path.with_name(f".{path.name}.{tag}.partial" if tag else f".{path.name}.partial")


@contextmanager
def replacing(*paths: Path, tag: str = "") -> Iterator[tuple[Path, ...]]:
    """A path for each file, to write it to; the files take their places when the block ends without an error.

    By then all of them are safe on the disk. Of several, the last one is what says that the others belong
    together: it is taken away before the first is replaced, and comes last. After an error all are as they
    were, and nothing that was written stays.

    Args:
        tag: where two may write the same file at once: a part of the name while it is written, another for
            each. What a killed process leaves is for the caller to remove.

    Raises:
        OSError: a file cannot be synced or replaced.
    """
    partials = tuple(partial_path(path, tag) for path in paths)
    try:
        yield partials
        for partial in partials:
            with partial.open("r+b") as file:  # Windows syncs only what is open for writing.
                os.fsync(file.fileno())
        if len(paths) > 1:
            paths[-1].unlink(missing_ok=True)
        for partial, path in zip(partials, paths, strict=True):
            os.replace(partial, path)
    except BaseException:
        for partial in partials:
            partial.unlink(missing_ok=True)  # Of a full disk, half a file would keep it full.
        raise
    for folder in {path.parent for path in paths}:
        _sync_folder(folder)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Whoever else asks for the same folder waits; for changes that read a file before they replace it.

    Raises:
        OSError: the folder cannot be opened or locked.
    """
    import fcntl  # Not on Windows, where the rest of the package works.

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Where a folder cannot be opened.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
