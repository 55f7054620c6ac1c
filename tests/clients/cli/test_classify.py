"""`babelclip classify`: labels of images as CSV, and how many are right."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from babelclip import Calibration, ClassifierHead, SearchCalibration
from babelclip.cli.classify import spreadsheet_cell
from babelclip.cli.main import app
from babelclip.index import Row, Settings, create_index
from tests.clients.fake_server import DIM, SPACE, FakeServer, vector_of


def run(server: FakeServer, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"BABELCLIP_URL": server.url})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures that their own label finds, in folders of that name, and one that nothing does."""
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/=3.jpg", "dog/4.jpg"):
        file = tmp_path / "pictures" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"lava" if "4" in name else file.parent.name.encode())
    return tmp_path / "pictures"


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    path = tmp_path / "cosines.json"
    Calibration(SPACE, slope=100.0, offset=-90.0, pairs=100, others=0.0).save(path)
    return path


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_folder_becomes_a_table(web: FakeServer, folder: Path, calibration: Path) -> None:
    """Each image has a line: its label with its probability, or none and what would have been best."""
    done = run(web, "classify", folder, "cat", "dog", "--calibration", calibration)
    assert done.exit_code == 0, done.stderr
    found = {Path(row["path"]).name: row for row in rows(done.stdout)}
    assert {name: row["label"] for name, row in found.items()} == {
        "1.jpg": "cat",
        "2.jpg": "cat",
        "=3.jpg": "dog",
        "4.jpg": "",
    }
    assert found["4.jpg"]["best"] in ("cat", "dog")
    assert float(found["4.jpg"]["match"]) < 0.5 < float(found["1.jpg"]["match"])
    assert 0 < float(found["1.jpg"]["probability"]) <= 1


def test_without_a_calibration_every_image_has_a_label(web: FakeServer, folder: Path) -> None:
    """A softmax always has a winner, and the person is told what would change that."""
    done = run(web, "classify", folder, "cat", "dog")
    assert all(row["label"] and not row["match"] for row in rows(done.stdout))
    assert "without a calibration" in done.stderr


def test_names_of_folders_are_the_truth(
    web: FakeServer, folder: Path, calibration: Path, tmp_path: Path
) -> None:
    """A table says how often which label was given to what, beside the file that was asked for."""
    (tmp_path / "labels.txt").write_text("\ufeffcat\n\n dog \n", encoding="utf-8")
    options = ("--labels", tmp_path / "labels.txt", "--calibration", calibration, "--truth", "folders")
    done = run(web, "classify", folder, *options, "--output", tmp_path / "out.csv")
    assert done.exit_code == 0, done.stderr
    assert len(rows((tmp_path / "out.csv").read_text(encoding="utf-8"))) == 4
    assert "accuracy 75.0 %" in done.stdout
    (dog,) = [line for line in done.stdout.splitlines() if line.startswith("│ dog")]
    assert [part.strip() for part in dog.split("│")[2:-1]] == ["0", "1", "1", "100.0 %", "50.0 %"]


def test_a_file_is_the_truth(web: FakeServer, folder: Path, calibration: Path, tmp_path: Path) -> None:
    """Paths are as printed, or below the folder; an image that is not in the file is not counted."""
    truth = tmp_path / "truth.csv"
    truth.write_text(f"label,path\ncat,cat/1.jpg\nfish,dog/4.jpg\ndog,{folder}/cat/2.jpg\n", encoding="utf-8")
    options = ("--calibration", calibration, "--truth", truth, "--json")
    found = json.loads(run(web, "classify", folder, "cat", "dog", *options).stdout)["confusion"]
    assert found["labels"] == ["cat", "dog", None]
    assert found["counts"] == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert (found["precision"]["cat"], found["recall"]["dog"], found["accuracy"]) == (0.5, 0.0, 2 / 3)


def test_an_index_is_classified_without_embedding_its_images(web: FakeServer, tmp_path: Path) -> None:
    """Rows have vectors already; one that failed has its error, and the calibration of the index counts."""
    address = tmp_path / "pictures.index"
    stored = [Row(id=name, source=f"{name}.jpg", vector=vector_of(name.encode())) for name in ("cat", "lava")]
    broken = Row(id="x", source="broken.jpg", error_code="image_undecodable", error_message="no image")
    with create_index(address, Settings(space=SPACE, dim=DIM)) as index:
        index.upsert([*stored, broken], space=SPACE)
    SearchCalibration(SPACE, Calibration(SPACE, 100.0, -90.0, 100)).save(address / "calibration.json")
    done = run(web, "classify", address, "cat", "dog")
    assert done.exit_code == 1
    found = {row["path"]: row for row in rows(done.stdout)}
    assert (found["cat.jpg"]["label"], found["lava.jpg"]["label"]) == ("cat", "")
    assert found["broken.jpg"]["error"] == "image_undecodable: no image"
    assert found["broken.jpg"]["probability"] == ""
    assert "1 images have no vector" in done.stderr


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("=1+1.jpg", "'=1+1.jpg"),
        ("@x", "'@x"),
        ("-x", "'-x"),
        ("\uff1dx", "'\uff1dx"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_no_cell_is_a_formula(text: str, safe: str) -> None:
    """A file's name that a spreadsheet would run is text after an apostrophe."""
    assert spreadsheet_cell(text) == safe


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give labels"),
        (("cat", "cat"), "stands once"),
        (("cat", "--truth", "labels.txt"), "columns path and label"),
        (("cat", "--labels", "none.txt"), "No such file"),
        (("cat", "--language", "xx"), "no built-in templates"),
    ],
    ids=str,
)
def test_what_cannot_be_classified_is_explained(
    web: FakeServer, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    """Wrong labels and files are one sentence and exit code 3."""
    monkeypatch.chdir(folder.parent)
    Path("labels.txt").write_text("cat\n", encoding="utf-8")
    done = run(web, "classify", folder, *arguments)
    assert done.exit_code == 3
    assert words in done.stderr


def test_what_is_refused_begins_no_file(web: FakeServer, folder: Path, tmp_path: Path) -> None:
    """A label that stands twice, or a calibration of another model, is told before anything is written."""
    twice = run(web, "classify", folder, "cat", "cat", "--output", tmp_path / "labels.csv")
    assert twice.exit_code == 3
    assert "each of which stands once" in twice.stderr
    assert twice.stdout == ""
    other = tmp_path / "other.json"
    Calibration("another", slope=100.0, offset=-90.0, pairs=100, others=0.0).save(other)
    wrong = run(web, "classify", folder, "cat", "--calibration", other, "--output", tmp_path / "labels.csv")
    assert wrong.exit_code != 0
    assert not (tmp_path / "labels.csv").exists()


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """A head of cats and dogs on the server's vectors, and what is near to neither matches none."""
    vectors = np.stack([vector_of(b"cat"), vector_of(b"dog")])
    made = ClassifierHead(
        labels=("cat", "dog"),
        space=SPACE,
        weight=20 * vectors,
        bias=np.zeros(2, np.float32),
        means=vectors,
        calibration=Calibration(SPACE, slope=100.0, offset=-90.0, pairs=100),
    )
    made.save(tmp_path / "head.safetensors")
    return tmp_path / "head.safetensors"


def test_a_head_brings_its_labels(web: FakeServer, folder: Path, head: Path) -> None:
    """What was learnt from images gives each image its label, or none, in the same table."""
    done = run(web, "classify", folder, "--head", head, "--truth", "folders")
    assert done.exit_code == 0, done.stderr
    found = {Path(row["path"]).name: row["label"] for row in rows(done.stdout)}
    assert found == {"1.jpg": "cat", "2.jpg": "cat", "=3.jpg": "dog", "4.jpg": ""}
    assert "accuracy 75.0 %" in done.stderr
    assert "without a calibration" not in done.stderr


def test_a_head_classifies_an_index(web: FakeServer, head: Path, tmp_path: Path) -> None:
    """Vectors of an index are taken as they are, if they are of the head's space."""
    for space, code in ((SPACE, 0), ("another", 3)):
        address = tmp_path / f"{space}.index"
        with create_index(address, Settings(space=space, dim=DIM)) as index:
            index.upsert([Row(id="x", source="x.jpg", vector=vector_of(b"dog"))], space=space)
        done = run(web, "classify", address, "--head", head)
        assert done.exit_code == code, done.stderr
        if code:
            assert "trained on vectors of the space" in done.stderr
        else:
            assert rows(done.stdout)[0]["label"] == "dog"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cat",), "labels and a calibration of its own"),
        (("--language", "en"), "labels and a calibration of its own"),
        (("--calibration", "cosines.json"), "labels and a calibration of its own"),
    ],
    ids=str,
)
def test_a_head_takes_nothing_that_it_has_itself(
    web: FakeServer, folder: Path, head: Path, arguments: tuple[str, ...], words: str
) -> None:
    """Two sources of labels are a mistake, and said to be."""
    done = run(web, "classify", folder, *arguments, "--head", head)
    assert done.exit_code == 3
    assert words in done.stderr


def test_a_file_that_is_no_head_is_told(web: FakeServer, folder: Path, head: Path) -> None:
    """A wrong file is one sentence and exit code 3, before any image is sent."""
    head.write_bytes(b"PK")
    done = run(web, "classify", folder, "--head", head)
    assert done.exit_code == 3
    assert "is no classifier head: it is no safetensors file" in done.stderr
