"""What commands write: whether they can, found out before the work; and files that are whole or not there."""

import contextlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PARTIAL = ".partial"
"""How the names of unfinished files end."""


def check(command: str, option: str, *paths: Path | None) -> None:
    """End `command` with a sentence that names `option`, unless each path can be made or written.

    Nothing is made. A disk that fills up later is not foreseen. None: the command is to write nothing.
    """
    for path in filter(None, paths):
        reason = _reason(path)
        if reason:
            sys.exit(f"{command}: {path} cannot be written: {reason}; choose another place with {option}")


def _reason(path: Path) -> str:
    """Why nothing can be made or replaced there; empty: it can."""
    # os.path, which says False where a folder on the way may not be entered and pathlib raises.
    place = path.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if place != path.absolute() and not os.path.isdir(place):
        return f"{place} is no folder"
    if not os.access(place, os.W_OK | (os.X_OK if os.path.isdir(place) else 0)):
        return f"this user may not write to {place}"
    return ""


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = False, shared: bool = False) -> Iterator[Path]:
    """Write a file, a link or a folder whole or not at all.

        with replacing(folder / "meta.json") as partial:
            partial.write_text(text)

    The block writes to a path beside `path`, which is renamed to `path` when the block ends. Where the block
    raises, what was at `path` stays and the unfinished one is removed.

    Args:
        durable: a file is on the disk, under its name, before this returns.
        shared: several processes may write the same `path` at a time.
    """
    owner = f".{secrets.token_hex(4)}" if shared else ""
    partial = path.with_name(f".{path.name}{owner}{PARTIAL}")
    _remove(partial)  # of a process that was killed
    try:
        yield partial
        if durable:
            _flush(partial)
        if path.is_dir() and not path.is_symlink():  # A folder does not replace one with files in it.
            shutil.rmtree(path)
        os.replace(partial, path)
    except BaseException:
        _remove(partial)
        raise
    if durable:
        _flush(path.parent)


def write_json(path: Path, value: Any) -> None:
    """JSON for people and programs: indented, in UTF-8, with a newline at its end."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Have the kernel write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
