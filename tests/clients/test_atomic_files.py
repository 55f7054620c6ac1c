"""Files that are replaced: whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from babelclip.atomic_files import partial_path, replacing


def names(folder: Path) -> set[str]:
    """What is in a folder."""
    return {path.name for path in folder.iterdir()}


def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    """Readers see the old content until all of the new is written, and nothing else is left beside it."""
    target = tmp_path / "manifest.json"
    target.write_text("old")
    with replacing(target) as (partial,):
        partial.write_text("new")
        assert target.read_text() == "old"
        assert partial == partial_path(target)
    assert target.read_text() == "new"
    assert names(tmp_path) == {"manifest.json"}


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    """Half a file of a process that was killed is not taken for the file, and is gone with the next write."""
    target = tmp_path / "manifest.json"
    partial_path(target).write_text("half of something that was longer")
    with replacing(target) as (partial,):
        partial.write_text("new")
    assert target.read_text() == "new"
    assert names(tmp_path) == {"manifest.json"}


def test_an_error_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """What fails or is interrupted while it is written costs neither the old files nor space on the disk."""
    first, second = tmp_path / "vectors", tmp_path / "meta"
    for target in (first, second):
        target.write_text("old")

    def write() -> None:
        with replacing(first, second) as partials:
            partials[0].write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert (first.read_text(), second.read_text()) == ("old", "old")
    assert names(tmp_path) == {"vectors", "meta"}


def test_a_disk_that_is_full_late_costs_no_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems say only at the second file's sync that there is no space: both old ones stay."""
    targets = (tmp_path / "vectors", tmp_path / "meta")
    synced: list[int] = []

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for target in targets:
        target.write_text("old")

    def write() -> None:
        with replacing(*targets) as partials:
            for partial in partials:
                partial.write_text("new")

    with pytest.raises(OSError, match="No space left"):
        write()
    assert [target.read_text() for target in targets] == ["old", "old"]
    assert names(tmp_path) == {"vectors", "meta"}


def test_the_last_file_is_never_beside_those_of_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed between two files leaves no last one, which would vouch for both."""
    targets = (tmp_path / "vectors", tmp_path / "urls", tmp_path / "meta")
    for target in targets:
        target.write_text("old")
    replace, seen = os.replace, []

    def watched(source: Path, target: Path) -> None:
        seen.append("meta" in names(tmp_path))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    with replacing(*targets) as partials:
        for partial in partials:
            partial.write_text("new")
    assert seen == [False, False, False]
    assert [target.read_text() for target in targets] == ["new"] * 3
