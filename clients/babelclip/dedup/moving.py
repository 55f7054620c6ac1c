"""Moving duplicates out of the way, and back.

    plan = plan_moves(found, Path("duplicates"))
    move(plan, Path("duplicates"))              # duplicates/2019/cat.jpg, duplicates/moved.jsonl
    move_back(Path("duplicates/moved.jsonl"))

Nothing is deleted and nothing is overwritten. What is moved is written down before it is moved, so that a
process that is killed leaves a list of all that it did.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from babelclip.atomic_files import replacing
from babelclip.dedup.groups import DuplicateGroups
from babelclip.index import Row
from babelclip.ingest.sources.base import named_path

MANIFEST = "moved.jsonl"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Move:
    """A file, and where it goes."""

    source: Path
    target: Path


@dataclass(frozen=True)
class LeftAlone:
    """A file that stays where it is, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class MovePlan:
    """What would be moved, and what would not."""

    moves: Sequence[Move]
    left: Sequence[LeftAlone]


def plan_moves(found: DuplicateGroups, folder: Path) -> MovePlan:
    """Where the duplicates of each group would go, below `folder`; the best stays. Nothing is changed.

    A path below the folder that was indexed is kept; where two would meet, one gets a number. Left alone are
    files that are not there or have changed since they were indexed, what is no file of its own, and whole
    groups whose best is such.
    """
    folder = folder.absolute()
    moves: list[Move] = []
    left: list[LeftAlone] = []
    targets: set[Path] = set()
    for group in found.groups:
        wrong = _why_not(group.best, folder)
        for one in group.duplicates:
            if wrong:
                left.append(LeftAlone(one.row.source, f"the best of its group, {group.best.source}: {wrong}"))
                continue
            reason = _why_not(one.row, folder)
            if not reason and _same_file(group.best.source, one.row.source):
                reason = "it is the same file as the best of its group, by another name"
            if reason:
                left.append(LeftAlone(one.row.source, reason))
                continue
            target = _free(folder / _below(one.row), targets)
            targets.add(target)
            moves.append(Move(named_path(one.row.source), target))
    return MovePlan(moves, left)


def move(
    plan: MovePlan, folder: Path, *, progress: Callable[[int, int], None] | None = None
) -> tuple[Path, list[LeftAlone]]:
    """Move what is planned; returns the manifest, and what could not be moved.

    Raises:
        OSError: `folder` or the manifest cannot be written.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    failed: list[LeftAlone] = []
    with manifest.open("a", encoding="ascii") as file:
        for count, one in enumerate(plan.moves, start=1):
            file.write(json.dumps({"from": str(one.source), "to": str(one.target)}) + "\n")
            file.flush()
            os.fsync(file.fileno())
            try:
                _move(one.source, one.target)
            except OSError as error:
                failed.append(LeftAlone(str(one.source), error.strerror or str(error)))
            if progress is not None:
                progress(count, len(plan.moves))
    return manifest, failed


def move_back(
    manifest: Path, *, progress: Callable[[int, int], None] | None = None
) -> tuple[int, list[LeftAlone]]:
    """Move everything back that a manifest names; returns how many files, and what stays where it is.

    The manifest is left with what stays, and is gone when that is nothing.

    Raises:
        OSError: it cannot be read or written.
        ValueError: it is no manifest, or names files that are not beside it.
    """
    folder = manifest.absolute().parent
    moves = _read(manifest, folder)
    done = 0
    left: list[LeftAlone] = []
    remaining: list[Move] = []
    for count, one in enumerate(reversed(moves), start=1):
        if os.path.lexists(one.target):
            try:
                _move(one.target, one.source)
                done += 1
            except OSError as error:
                remaining.append(one)
                left.append(LeftAlone(str(one.target), error.strerror or str(error)))
        elif not os.path.lexists(one.source):
            left.append(LeftAlone(str(one.target), "it is not there any more"))
        if progress is not None:
            progress(count, len(moves))
    if remaining:
        with replacing(manifest) as (partial,):
            lines = [
                json.dumps({"from": str(one.source), "to": str(one.target)}) for one in reversed(remaining)
            ]
            partial.write_text("\n".join(lines) + "\n", encoding="ascii")
    else:
        manifest.unlink()
    return done, left


def _read(manifest: Path, folder: Path) -> list[Move]:
    moves = []
    for number, line in enumerate(manifest.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            one = Move(Path(entry["from"]), Path(entry["to"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{manifest}, line {number}: this is no list of what was moved") from error
        if not one.source.is_absolute() or not _is_below(one.target, folder):
            raise ValueError(f"{manifest}, line {number}: {one.target} does not lie below {folder}")
        moves.append(one)
    return moves


def _is_below(path: Path, folder: Path) -> bool:
    return ".." not in path.parts and path.is_relative_to(folder) and path != folder


def _why_not(row: Row, folder: Path) -> str:
    """Why the file of a row must not be relied on; empty where it can be."""
    path = named_path(row.source)
    if not path.is_absolute():
        return "it is no file on this machine"
    if path.is_relative_to(folder):
        return f"it lies in {folder} already"
    if path.is_symlink():
        return "it is a link"
    try:
        if not path.is_file():
            return "there is no such file"
        same = path.stat().st_size == row.size and _checksum(path) == row.checksum
    except OSError as error:
        return error.strerror or str(error)
    return "" if same else "it has changed since it was indexed"


def _same_file(one: str, other: str) -> bool:
    return os.path.samefile(named_path(one), named_path(other))


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _below(row: Row) -> Path:
    """The path below the folder that was indexed, or below the root."""
    path = Path(os.path.normpath(named_path(row.source)))
    folder = Path(os.path.normpath(named_path(row.collection)))
    if folder.is_absolute() and path.is_relative_to(folder) and path != folder:
        return path.relative_to(folder)
    return path.relative_to(path.anchor)


def _free(path: Path, taken: set[Path]) -> Path:
    candidate, number = path, 2
    while candidate in taken or os.path.lexists(candidate):
        candidate = path.with_name(f"{path.stem} ({number}){path.suffix}")
        number += 1
    return candidate


def _move(source: Path, target: Path) -> None:
    """Move a file to a path where nothing is.

    Raises:
        OSError: there is something, or it cannot be moved; the file is where it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # Another disk, or one without hard links.
        _copy(source, target)
    source.unlink()


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("xb") as written:
        try:
            shutil.copyfileobj(read, written, _CHUNK)
            written.flush()
            os.fsync(written.fileno())
        except BaseException:
            target.unlink()
            raise
    shutil.copystat(source, target)
