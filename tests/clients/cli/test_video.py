"""The commands of films: results, one line for what is wrong, exit codes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from babelclip.cli.main import app
from babelclip.cli.options import ServerOptions
from babelclip.cli.video import clock
from tests.clients.video.films import scene, write_film
from tests.clients.video.scene_tower import SceneTower, scene_client


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scenes of two seconds."""
    path = tmp_path_factory.mktemp("films") / "[red]film.mp4"
    return write_film(path, [scene(number) for number in range(4) for _ in range(20)])


@pytest.fixture(autouse=True)
def tower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands speak to a server that knows the scenes."""
    monkeypatch.setattr(ServerOptions, "client", lambda *_, **__: scene_client())


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", ["moments", "search"])
def test_a_film_is_searched_by_either_command(film: Path, command: str) -> None:
    """`search` of a film prints the same ranges as `moments`, as a table and as JSON."""
    done = run(command, film, "scene 1", "scene 3", "--top", "1", "--json")
    assert done.exit_code == 0, done.stderr
    first, second = json.loads(done.stdout)["queries"]
    assert (first["query"], second["query"]) == ("scene 1", "scene 3")
    (found,) = first["results"]
    assert (round(found["begin"]), round(found["end"])) == (2, 4)
    assert found["video"] == str(film)
    table = run(command, film, "scene 3", "--top", "1").stdout
    assert "0:00:06.0" in table
    assert "[red]film.mp4" in table


@pytest.mark.parametrize("command", ["moments", "search"])
def test_the_language_of_a_query_goes_with_it(
    film: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is told it refuses one that it lacks, and the command says so."""
    monkeypatch.setattr(ServerOptions, "client", lambda *_, **__: scene_client(SceneTower(languages=["en"])))
    assert run(command, film, "scene 1", "--language", "en", "--top", "1").exit_code == 0
    done = run(command, film, "scene 1", "--language", "tlh")
    assert done.exit_code != 0
    assert "there is no tlh" in done.stderr


def test_films_are_indexed_once_and_searched_often(film: Path, tmp_path: Path) -> None:
    """`video index` makes the index, says what failed, and `moments` of it finds what is in it."""
    pytest.importorskip("lancedb", reason="an index in a folder is kept by LanceDB")
    index, broken = tmp_path / "films.index", tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    done = run("video", "index", index, film, broken, tmp_path / "none.mp4", "--json")
    assert done.exit_code == 1
    good, bad, missing = json.loads(done.stdout)["videos"]
    assert (good["moments"], good["added"]) == (4, 4)
    assert (bad["code"], missing["code"]) == ("video_undecodable", "unreadable_file")
    again = run("video", "index", index, film)
    assert again.exit_code == 0
    assert "4 moments, 0 of them new" in again.stderr
    (query,) = json.loads(run("moments", index, "scene 2", "--top", "1", "--json").stdout)["queries"]
    assert round(query["results"][0]["begin"]) == 4


def test_scenes_are_listed_in_three_forms(film: Path, tmp_path: Path) -> None:
    """The list is the same as a table, as JSON and as CSV, with a picture for each where it is asked for."""
    found = json.loads(run("video", "scenes", film, "--json").stdout)
    assert [one["begin"] for one in found["scenes"]] == [0.0, 2.0, 4.0, 6.0]
    assert found["seconds"] == pytest.approx(8.0, abs=0.11)
    done = run("video", "scenes", film, "--csv", "--key-frames", tmp_path / "frames")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [float(row["end"]) for row in rows[:3]] == [2.0, 4.0, 6.0]
    for row in rows:
        with Image.open(row["image"]) as picture:
            assert picture.size == (128, 72)
    assert "0:00:04.0" in run("video", "scenes", film).stdout
    assert run("video", "scenes", film, "--csv", "--json").exit_code == 2


def test_what_cannot_be_decoded_is_one_line(tmp_path: Path) -> None:
    """A wrong file, or a device that is not there, ends a command with 3 and a sentence."""
    path = tmp_path / "film.mp4"
    path.write_bytes(b"no film")
    for arguments in (
        ("video", "scenes", path),
        ("moments", path, "a"),
        ("video", "scenes", path, "--hardware", "x"),
    ):
        done = run(*arguments)
        assert done.exit_code == 3
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("error: ")


def test_times_are_shown_as_players_show_them() -> None:
    """Hours, minutes, seconds and tenths, rounded together."""
    assert [clock(seconds) for seconds in (0.0, 59.96, 3723.25)] == ["0:00:00.0", "0:01:00.0", "1:02:03.2"]
