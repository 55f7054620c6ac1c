"""`babelclip index`: what it does, prints and ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from babelclip.cli.main import app
from babelclip.index import open_index
from tests.clients.fake_server import DIM, SPACE, FakeServer


def run(server: FakeServer | None, *arguments: str | Path) -> Result:
    """One `babelclip index` command against a server."""
    url = server.url if server else "http://127.0.0.1:9"
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(app, ["index", *words], env={"BABELCLIP_URL": url})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, one of which the server cannot decode."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in ("one.jpg", "two.png", "broken.webp"):
        (folder / name).write_bytes(name.partition(".")[0].encode())
    return folder


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "photographs.index")


def test_from_a_folder_to_an_index(web: FakeServer, folder: Path, address: str) -> None:
    """The first `add` makes the index; `info` and `rows` tell what is in it, and that one image failed."""
    added = run(web, "add", address, folder, "--json")
    assert added.exit_code == 1, added.output
    report = json.loads(added.stdout)
    assert (report["listed"], report["embedded"], report["failed"], report["skipped"]) == (3, 2, 1, [])
    assert "made the index" in added.stderr

    info = json.loads(run(None, "info", address, "--json").stdout)
    assert (info["space"], info["dim"], info["rows"], info["failed"]) == (SPACE, DIM, 2, 1)
    assert SPACE in run(None, "info", address).stdout

    listed = json.loads(run(None, "rows", address, "--json").stdout)
    assert {Path(row["source"]).name for row in listed["rows"]} == {"one.jpg", "two.png", "broken.webp"}
    (failed,) = json.loads(run(None, "rows", address, "--failed", "--json").stdout)["rows"]
    assert failed["error_code"] == "image_undecodable"
    shown = run(None, "rows", address, "--failed").stdout
    assert "broken.webp" in shown
    assert "one.jpg" not in shown
    assert "1 of 3 rows" in run(None, "rows", address, "--top", "1").stderr


def test_again_is_only_what_is_new(web: FakeServer, folder: Path, address: str) -> None:
    """The second `add` says that nothing was embedded; what is deleted from the disk is dropped."""
    run(web, "add", address, folder)
    (folder / "broken.webp").unlink()
    done = run(web, "add", address, folder)
    assert done.exit_code == 0, done.output
    assert "0 embedded, 2 unchanged, 1 dropped" in done.stderr
    assert done.stdout == ""


def test_create_with_fields(web: FakeServer, address: str) -> None:
    """An index is made for the server's model, with the fields that were declared, and not made twice."""
    made = run(web, "create", address, "--field", "album=text", "--field", "year=integer")
    assert made.exit_code == 0, made.output
    with open_index(address) as index:
        assert dict(index.settings.fields) == {"album": "text", "year": "integer"}
        assert (index.settings.space, index.settings.dim) == (SPACE, DIM)
    again = run(web, "create", address)
    assert again.exit_code == 3
    assert "there is an index" in again.stderr


def test_delete_and_compact(web: FakeServer, folder: Path, address: str) -> None:
    """Rows go by a filter or by their ids, and the command says how many."""
    run(web, "add", address, folder)
    assert "deleted 1 rows" in run(None, "delete", address, "--where", '{"error_code": {"$ne": ""}}').stderr
    with open_index(address) as index:
        ids = [row.id for rows in index.scan() for row in rows]
    assert "deleted 2 rows" in run(None, "delete", address, *ids).stderr
    assert "0 rows, searched by" in run(None, "compact", address).stderr
    assert run(None, "delete", address).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["info", "{}/nowhere"], "there is no index at"),
        (["add", "{}/new.index", "{}/nowhere"], "is no folder"),
        (["create", "{}/new.index", "--field", "year"], "--field is NAME=TYPE"),
        (["rows", "{}/photographs.index", "--where", "{"], "--where is no JSON"),
        (["rows", "{}/photographs.index", "--where", "[]"], "must be a JSON object"),
        (["rows", "{}/photographs.index", "--where", '{"colour": "red"}'], "there is no field 'colour'"),
    ],
)
def test_mistakes_are_explained(
    arguments: list[str], says: str, web: FakeServer, folder: Path, address: str, tmp_path: Path
) -> None:
    """One line says what is wrong, and the exit code is 3."""
    run(web, "create", address)
    done = run(web, *(word.replace("{}/", f"{tmp_path}/") for word in arguments))
    assert done.exit_code == 3
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_server(folder: Path, address: str) -> None:
    """Without a server nothing is made, and the line says that nobody answered."""
    done = run(None, "add", address, folder)
    assert done.exit_code == 3
    assert not Path(address).exists()


def test_an_index_of_another_model(web: FakeServer, folder: Path, address: str) -> None:
    """A server whose model is another one is refused, by its default version and by the index's."""
    run(web, "create", address)
    web.space = "another"
    done = run(web, "add", address, folder)
    assert done.exit_code == 3
    assert f"of the space {SPACE}" in done.stderr


def test_migrate(web: FakeServer, folder: Path, address: str) -> None:
    """The index moves to the server's other model, unless it would lose rows; the old rows can be kept."""
    run(web, "add", address, folder)
    web.space = "another"
    (folder / "two.png").rename(folder.parent / "two.png")
    options = ("--min-recall", "0", "--keep", "--json")
    stopped = run(web, "migrate", address, *options)
    assert stopped.exit_code == 1
    assert "1 rows would lose their vectors" in stopped.stderr
    assert "unreadable_file" in stopped.stderr.splitlines()[-1]

    (folder.parent / "two.png").rename(folder / "two.png")
    done = run(web, "migrate", address, *options)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["space"], report["rows"], report["embedded"], report["missing"]) == ("another", 3, 1, [])
    info = json.loads(run(None, "info", address, "--json").stdout)
    assert (info["space"], info["generation"], len(info["generations"])) == (
        "another",
        report["generation"],
        2,
    )
    assert run(None, "drop", address, report["previous"]).exit_code == 0
    assert run(None, "drop", address, report["previous"]).exit_code == 3
    assert run(None, "drop", address, report["generation"]).exit_code == 3
    assert run(web, "add", address, folder).exit_code == 0
