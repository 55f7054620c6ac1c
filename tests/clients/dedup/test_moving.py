"""Moving duplicates away and back: nothing is deleted, nothing is overwritten."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from babelclip.dedup import DuplicateGroups, find_duplicates
from babelclip.dedup.moving import MANIFEST, move, move_back, plan_moves
from babelclip.index import Index
from tests.clients.dedup.photographs import encoded, make_index, picture, row, vector


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Two groups of three copies each, in folders."""
    folder = tmp_path / "photographs"
    for seed in (1, 2):
        for place in ("", "2019/", "2020/"):
            path = folder / f"{place}{seed}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(picture(seed)))
    return folder


@pytest.fixture
def index(tmp_path: Path, photographs: Path) -> Iterator[Index]:
    rows = [
        row(str(path), path.read_bytes(), vector(int(path.stem)), collection=str(photographs))
        for path in sorted(photographs.rglob("*.jpg"))
    ]
    with make_index(tmp_path, rows) as made:
        yield made


@pytest.fixture
def found(index: Index) -> DuplicateGroups:
    return find_duplicates(index)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_there_and_back(tmp_path: Path, photographs: Path, found: DuplicateGroups) -> None:
    """The best stays, the others keep their paths below the folder; the manifest takes all back."""
    before = files(photographs)
    away = tmp_path / "away"
    plan = plan_moves(found, away)
    assert files(photographs) == before  # A plan moves nothing.
    assert not away.exists()
    manifest, failed = move(plan, away)
    assert (len(plan.moves), plan.left, failed) == (4, [], [])
    assert set(files(photographs)) == {"1.jpg", "2.jpg"}
    moved = files(away)
    assert moved.pop(MANIFEST)
    assert moved == {name: before[name] for name in ("2019/1.jpg", "2019/2.jpg", "2020/1.jpg", "2020/2.jpg")}

    assert move_back(manifest) == (4, [])
    assert files(photographs) == before
    assert files(away) == {}


def test_nothing_is_overwritten(tmp_path: Path, photographs: Path, found: DuplicateGroups) -> None:
    """Where a file is in the way, one there gets a number, and one back stays where it is and is told."""
    away = tmp_path / "away"
    (away / "2019").mkdir(parents=True)
    (away / "2019/1.jpg").write_bytes(b"somebody's")
    manifest, _ = move(plan_moves(found, away), away)
    assert (away / "2019/1.jpg").read_bytes() == b"somebody's"
    assert (away / "2019/1 (2).jpg").read_bytes() == encoded(picture(1))

    (photographs / "2019/1.jpg").write_bytes(b"a new one")
    done, left = move_back(manifest)
    assert done == 3
    assert [one.source for one in left] == [str(away / "2019/1 (2).jpg")]
    assert (photographs / "2019/1.jpg").read_bytes() == b"a new one"
    (photographs / "2019/1.jpg").unlink()
    assert move_back(manifest) == (1, [])
    assert not manifest.exists()


def test_what_has_changed_is_left_alone(tmp_path: Path, photographs: Path, found: DuplicateGroups) -> None:
    """Files that are gone, changed or links stay, and all of a group whose best is not what it was."""
    (photographs / "2019/1.jpg").write_bytes(b"edited")
    (photographs / "2020/1.jpg").unlink()
    (photographs / "2.jpg").write_bytes(b"the best of the others")
    plan = plan_moves(found, tmp_path / "away")
    assert plan.moves == []
    reasons = {one.source: one.reason for one in plan.left}
    assert "changed" in reasons[str(photographs / "2019/1.jpg")]
    assert "no such file" in reasons[str(photographs / "2020/1.jpg")]
    assert "the best of its group" in reasons[str(photographs / "2019/2.jpg")]
    assert "the best of its group" in reasons[str(photographs / "2020/2.jpg")]


def test_another_name_of_the_same_file_is_left_alone(
    tmp_path: Path, photographs: Path, found: DuplicateGroups
) -> None:
    """A link, soft or hard, to what stays is no second copy."""
    for name, link in (("2019/1.jpg", os.link), ("2020/1.jpg", os.symlink)):
        (photographs / name).unlink()
        link(photographs / "1.jpg", photographs / name)
    plan = plan_moves(found, tmp_path / "away")
    assert {one.source.name for one in plan.moves} == {"2.jpg"}
    assert len(plan.left) == 2


def test_sources_that_are_no_files_are_left_alone(tmp_path: Path) -> None:
    """A member of an archive and an address have nothing to move."""
    data = encoded(picture(1))
    rows = [row(name, data, vector(1)) for name in ("https://host/1.jpg", "/a.tar#1.jpg", "1.jpg")]
    with make_index(tmp_path, rows) as index:
        plan = plan_moves(find_duplicates(index), tmp_path / "away")
    assert plan.moves == []
    assert len(plan.left) == 2


def test_across_disks(
    tmp_path: Path, photographs: Path, found: DuplicateGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file cannot be linked it is copied first, with its time, and then taken away."""

    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", no_link)
    before = files(photographs)
    modified = (photographs / "2019/1.jpg").stat().st_mtime_ns
    manifest, failed = move(plan_moves(found, tmp_path / "away"), tmp_path / "away")
    assert failed == []
    assert (tmp_path / "away/2019/1.jpg").stat().st_mtime_ns == modified
    assert move_back(manifest) == (4, [])
    assert files(photographs) == before


@pytest.mark.parametrize(
    "line", ["no JSON", "[]", '{"from": "/a"}', json.dumps({"from": "/a", "to": "/etc/passwd"})]
)
def test_what_is_no_manifest_moves_nothing(tmp_path: Path, line: str) -> None:
    """A list that we did not write, or that names files elsewhere, is refused whole."""
    manifest = tmp_path / MANIFEST
    manifest.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 1"):
        move_back(manifest)
