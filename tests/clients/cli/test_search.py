"""`babelclip search` in an index, and `babelclip calibrate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from babelclip import Calibration, SearchCalibration, read_search_calibration
from babelclip.cli.main import app
from babelclip.index import Row, Settings, create_index
from tests.clients.fake_server import DIM, SPACE, FakeServer, vector_of

NAMES = ("sea", "wood", "town")


def run(server: FakeServer, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"BABELCLIP_URL": server.url})


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures, each of which the text of its name finds; the sea is there twice."""
    address = tmp_path_factory.mktemp("search") / "pictures.index"
    rows = [
        Row(id=name, source=f"{name}.jpg", vector=vector_of(name.encode()), metadata={"place": name})
        for name in NAMES
    ]
    twice = Row(id="sea again", source="sea2.jpg", vector=vector_of(b"sea"), metadata={"place": "sea"})
    with create_index(address, Settings(space=SPACE, dim=DIM, fields={"place": "text"})) as made:
        made.upsert([*rows, twice], space=SPACE)
    return address


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    """A half at cosine 0.9, for texts and for images."""
    path = tmp_path / "cosines.json"
    curve = Calibration(SPACE, slope=100.0, offset=-90.0, pairs=100, others=0.0)
    SearchCalibration(SPACE, text=curve, image=curve).save(path)
    return path


def found(done: Result) -> list[dict[str, Any]]:
    queries: list[dict[str, Any]] = json.loads(done.stdout)["queries"]
    return queries


def test_an_index_is_searched_by_texts(web: FakeServer, index: Path) -> None:
    """Each query gets its rows with all that the index knows of them, a burst in one place."""
    done = run(web, "search", index, "wood", "sea", "--top", "1", "--json")
    assert done.exit_code == 0, done.stderr
    wood, sea = found(done)
    assert (wood["results"][0]["id"], wood["results"][0]["metadata"]) == ("wood", {"place": "wood"})
    assert wood["results"][0]["cosine"] == pytest.approx(1.0, abs=1e-5)
    assert sorted([sea["results"][0]["id"], *sea["results"][0]["duplicates"]]) == ["sea", "sea again"]
    assert (sea["next_offset"], sea["threshold"]) == (2, None)
    assert json.loads(done.stdout)["space"] == SPACE


def test_a_table_says_where_it_goes_on(web: FakeServer, index: Path) -> None:
    """A person sees the sources, how many look the same, and how to get the next ones."""
    done = run(web, "search", index, "sea", "--top", "1")
    assert done.exit_code == 0, done.stderr
    assert "sea" in done.stdout
    assert "+1" in done.stdout
    assert "more: --offset 2" in done.stderr
    assert len(found(run(web, "search", index, "sea", "--no-diversity", "--json"))[0]["results"]) == 4


def test_images_rows_and_filters_are_given_as_options(web: FakeServer, index: Path, tmp_path: Path) -> None:
    """An image, the id of a row and a filter search the same index; an image alone needs no text."""
    (tmp_path / "any.jpg").write_bytes(b"town")
    by_image = found(run(web, "search", index, "--image", tmp_path / "any.jpg", "--top", "1", "--json"))
    assert by_image[0]["results"][0]["id"] == "town"
    alike = found(run(web, "search", index, "--like", "sea", "--top", "1", "--json"))
    assert alike[0]["results"][0]["id"] == "sea again"
    only = found(run(web, "search", index, "sea", "--filter", '{"place": "wood"}', "--json"))
    assert [row["id"] for row in only[0]["results"]] == ["wood"]


def test_nothing_fits_is_said_plainly(web: FakeServer, index: Path, calibration: Path) -> None:
    """Where nothing reaches the threshold there is a sentence, no table, and exit code 1."""
    fits = run(web, "search", index, "sea", "--calibration", calibration)
    assert fits.exit_code == 0, fits.stderr
    nothing = run(web, "search", index, "lava", "--calibration", calibration)
    assert (nothing.exit_code, nothing.stdout) == (1, "")
    assert "nothing fits 'lava'" in nothing.stderr
    everything = run(web, "search", index, "lava", "--calibration", calibration, "--threshold", "none")
    assert "wood" in everything.stdout
    assert everything.exit_code == 0
    assert run(web, "search", index, "lava", "--threshold", "0.99").exit_code == 1


def test_a_folder_has_thresholds_too(web: FakeServer, tmp_path: Path, calibration: Path) -> None:
    """Files that are in no index are searched in the same way, by what is wanted and what is not."""
    for name in NAMES:
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
    fits, nothing = found(
        run(web, "search", tmp_path, "sea -wood", "lava", "--calibration", calibration, "--json")
    )
    assert [Path(row["path"]).name for row in fits["results"]] == ["sea.jpg"]
    assert (nothing["results"], nothing["fits"]) == ([], False)
    assert run(web, "search", tmp_path, "sea", "--like", "sea").exit_code == 2


@pytest.mark.parametrize("where", ["index", "folder"])
def test_the_language_of_a_query_goes_with_it(
    web: FakeServer, index: Path, tmp_path: Path, where: str
) -> None:
    """In an index and in a folder; images have none."""
    (tmp_path / "sea.jpg").write_bytes(b"sea")
    done = run(web, "search", index if where == "index" else tmp_path, "sea", "--language", "es")
    assert done.exit_code == 0, done.stderr
    assert {request.language for _, _, request in web.requests if request.texts} == {"es"}
    assert {request.language for _, _, request in web.requests if request.images} <= {""}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "give a query"),
        (("sea", "--filter", "{"), 2, "no JSON"),
        (("sea", "--filter", "3"), 2, "JSON object"),
        (("sea", "--threshold", "high"), 2, "auto, none"),
        (("sea", "--threshold", "7"), 3, "from -1 to 1"),
        (("sea", "--filter", '{"plac": "x"}'), 3, "no field 'plac'"),
        (("--like", "unknown"), 3, "no row with the id"),
        ((" ",), 3, "empty"),
    ],
    ids=str,
)
def test_what_cannot_be_searched_for_is_explained(
    web: FakeServer, index: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """A wrong option, filter or query is one sentence, and nothing is printed as a result."""
    done = run(web, "search", index, *arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert words in " ".join(done.stderr.replace("│", " ").split())


def test_an_index_is_calibrated_and_searches_use_it(web: FakeServer, tmp_path: Path) -> None:
    """What is measured from captions lies in the index, and the next search says when nothing fits."""
    address = tmp_path / "captioned.index"
    rng = np.random.default_rng(0)
    rows = []
    for n in range(40):
        near = vector_of(f"caption {n}".encode()) + 0.02 * rng.normal(size=DIM)
        vector = (near / np.linalg.norm(near)).astype(np.float32)
        rows.append(Row(id=str(n), source=f"{n}.jpg", vector=vector, caption=f"caption {n}"))
    with create_index(address, Settings(space=SPACE, dim=DIM)) as made:
        made.upsert(rows[:10], space=SPACE)
        assert "needs 20 rows" in run(web, "calibrate", address).stderr
        made.upsert(rows, space=SPACE)
    done = run(web, "calibrate", address, "--json", "--language", "es")
    assert done.exit_code == 0, done.stderr
    assert {request.language for _, _, request in web.requests if request.texts} == {"es"}
    assert list(json.loads(done.stdout)["curves"]) == ["text"]
    assert read_search_calibration(address / "calibration.json").image is None
    (one,) = found(run(web, "search", address, "caption 7", "--json"))
    assert one["results"][0]["id"] == "7"
    assert one["threshold"] is not None
    read = read_search_calibration(address / "calibration.json")
    assert read.text is not None
    SearchCalibration("other", Calibration("other", 1.0, 0.0, 20)).save(address / "calibration.json")
    again = run(web, "search", address, "caption 7", "--json")
    assert (again.exit_code, found(again)[0]["threshold"]) == (0, None)
    assert "is of the space other" in again.stderr
