"""`babelclip dedup`: what it does, prints and ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from babelclip.cli.main import app
from tests.clients.dedup.photographs import encoded, picture
from tests.clients.fake_server import FakeServer


def run(server: FakeServer | None, *arguments: str | Path) -> Result:
    """One `babelclip dedup` command against a server."""
    url = server.url if server else "http://127.0.0.1:9"
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(app, ["dedup", *words], env={"BABELCLIP_URL": url})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two copies, a smaller one of the same, and another image."""
    folder = tmp_path / "photographs"
    (folder / "copies").mkdir(parents=True)
    image = picture(1, (200, 150))
    (folder / "one.jpg").write_bytes(encoded(image))
    (folder / "copies/one.jpg").write_bytes(encoded(image))
    (folder / "copies/small.jpg").write_bytes(encoded(image.resize((100, 75))))
    (folder / "other.jpg").write_bytes(encoded(picture(2)))
    return folder


def test_a_folder_is_indexed_compared_and_tidied(web: FakeServer, folder: Path, tmp_path: Path) -> None:
    """Its index is made beside it; --move-to says what would be moved, --apply moves, --undo moves back."""
    found = run(web, folder, "--json", "--csv", tmp_path / "groups.csv", "--page", tmp_path / "page.html")
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert (document["rows"], document["duplicates"]) == (4, 2)
    assert (tmp_path / "photographs.index").is_dir()
    assert (tmp_path / "groups.csv").read_text(encoding="utf-8").count("\n") == 4
    assert (tmp_path / "page.html").exists()

    index, away = tmp_path / "photographs.index", tmp_path / "away"
    planned = run(None, index, "--move-to", away)
    assert planned.exit_code == 0, planned.output
    assert "2 of 4 images are duplicates, in 1 groups" in planned.stdout
    assert "2 files would be moved" in planned.stderr
    assert not away.exists()
    assert run(None, index, "--move-to", away, "--apply").exit_code == 0
    assert sorted(p.name for p in folder.rglob("*.jpg")) == ["one.jpg", "other.jpg"]
    assert run(None, "--undo", away / "moved.jsonl").exit_code == 0
    assert len(list(folder.rglob("*.jpg"))) == 4


def test_leaks_between_splits_end_with_1(web: FakeServer, folder: Path, tmp_path: Path) -> None:
    """What is in two splits is counted, and the exit code says so."""
    index = tmp_path / "index"
    for split in ("copies", "."):
        options = ("--exclude", "copies") if split == "." else ()
        added = CliRunner().invoke(
            app,
            ["index", "add", str(index), str(folder / split), "--name", f"set-{split}", *options],
            env={"BABELCLIP_URL": web.url},
        )
        assert added.exit_code == 0, added.output
    splits = ("--split", "train=set-copies", "--split", "test=set-.")
    leaked = run(None, index, *splits)
    assert leaked.exit_code == 1, leaked.output
    assert "2 images of train are in test, too" in leaked.stdout
    assert run(None, index).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "give an index or a folder"),
        (("nowhere",), 3, "there is no index at nowhere"),
        (("nowhere", "--apply"), 2, "--apply goes with --move-to"),
        (("nowhere", "--split", "train"), 3, "NAME=COLLECTION"),
        (("nowhere", "--split", "train=a"), 3, "at least two splits"),
        (("nowhere", "--split-field", "part=train"), 3, "at least two names"),
        (("nowhere", "--agreement", "2"), 3, "agreement must be from"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], code: int, said: str) -> None:
    """What cannot be done is said before anything is done."""
    found = run(None, *arguments)
    assert found.exit_code == code
    assert said in " ".join(found.stderr.replace("│", " ").split())
