import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from babelclip import Client, read_head
from babelclip.cli.main import app
from babelclip.testing import InMemoryTransport
from tests.clients.fake_server import http_server
from tests.needs import needs
from training.evaluation.errors import EvaluationError
from training.stages import classifier

needs("sklearn", reason="scikit-learn is not installed")

DIM = 16
KINDS = ("cat", "dog", "fox")


def vector(kind: str, number: int) -> np.ndarray:
    """Near to the middle of its kind."""
    middle = np.random.default_rng(sum(kind.encode())).standard_normal(DIM)
    return middle + 0.5 * np.random.default_rng([sum(kind.encode()), number]).standard_normal(DIM)


def image(kind: str, number: int) -> bytes:
    return f"{kind} {number}".encode()


def transport(**options: object) -> InMemoryTransport:
    """A model to which images of a kind look alike."""
    kinds = (*KINDS, "owl", "eel", "ant")
    vectors = {image(kind, n): vector(kind, n) for kind in kinds for n in range(60)}
    return InMemoryTransport(dim=DIM, vectors={key: row.tolist() for key, row in vectors.items()}, **options)  # type: ignore[arg-type]


def write(folder: Path, kinds: tuple[str, ...] = KINDS, count: int = 12) -> Path:
    for kind in kinds:
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            (folder / kind / f"{number:02}.jpg").write_bytes(image(kind, number))
    return folder


def test_a_head_knows_images_it_has_not_seen_and_what_is_none(tmp_path: Path) -> None:
    """Protects the head's use: right labels for new images, and no label for those of other kinds."""
    with Client("", transport=transport()) as client:
        head, skipped = classifier.run(write(tmp_path / "animals"), client)
        head.save(tmp_path / "animals.safetensors")
        kept = read_head(tmp_path / "animals.safetensors")
        new = [(kind, number) for kind in KINDS for number in range(30, 50)]
        found = kept.classify(client.embed_images([image(*one) for one in new]))
        strange = [image(kind, number) for kind in ("owl", "eel", "ant") for number in range(20)]
        others = kept.classify(client.embed_images(strange))
    assert (skipped, head.labels, head.space) == ([], KINDS, "in-memory")
    right = [answer.best == kind for (kind, _), answer in zip(new, found, strict=True)]
    assert np.mean(right) > 0.95
    assert np.mean([answer.label is not None for answer in found]) > 0.8
    assert np.mean([answer.label is None for answer in others]) > 0.8
    assert head.about["images"] == 36
    assert head.about["held_out_accuracy"] > 0.9


def test_a_broken_image_is_left_out_and_named(tmp_path: Path) -> None:
    """Protects an hour of embedding from one broken file, and says which it was."""
    failing = {image("dog", 3): ("image_undecodable", "it is broken")}
    with Client("", transport=transport(failing=failing)) as client:
        head, skipped = classifier.run(write(tmp_path), client)
    assert [(Path(one.path).name, one.code) for one in skipped] == [("03.jpg", "image_undecodable")]
    assert head.about["images"] == 35


def test_few_images_make_a_head_without_a_calibration(tmp_path: Path) -> None:
    """Protects from a "no match" that chance decides; two images a class are the least."""
    with Client("", transport=transport()) as client:
        head, _ = classifier.run(write(tmp_path / "six", count=2), client)
        assert head.calibration is None
        with pytest.raises(EvaluationError, match="the class 'cat' has 1 usable images; each needs"):
            classifier.run(write(tmp_path / "three", count=1), client)
        with pytest.raises(EvaluationError, match="each of at least two classes"):
            classifier.run(write(tmp_path / "one", kinds=("cat",)), client)
        with pytest.raises(EvaluationError, match="nowhere is no folder"):
            classifier.run(tmp_path / "nowhere", client)


def test_every_image_is_held_out_once() -> None:
    """Protects the accuracy and the calibration: no image is judged by a head that has seen it."""
    labels = np.array([0] * 7 + [1] * 3 + [4] * 11)
    held_out: list[int] = []
    for rows, held in classifier._folds(labels, seed=0):
        assert sorted([*rows, *held]) == list(range(len(labels)))
        assert set(labels[rows]) == {0, 1, 4}
        held_out += held.tolist()
    assert sorted(held_out) == list(range(len(labels)))


def test_the_command_makes_what_classify_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects both commands together, over HTTP: train a head, and classify the same folder by it."""
    server = http_server()
    try:
        folder, output = write(tmp_path / "animals"), tmp_path / "animals.safetensors"
        classifier.main([str(folder), "--url", server.url, "--output", str(output)])
        last = capsys.readouterr().out.splitlines()[-1]
        result = json.loads(last.removeprefix("result: "))
        assert (result["labels"], result["images"], result["space"]) == (3, 36, server.space)
        words = ["classify", str(folder), "--head", str(output), "--threshold", "0", "--url", server.url]
        done = CliRunner().invoke(app, [*words, "--truth", "folders", "--json"])
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["confusion"]["labels"] == [*KINDS, None]
        with pytest.raises(SystemExit, match=r"training.stages.classifier: .*nowhere is no folder"):
            classifier.main([str(tmp_path / "nowhere"), "--url", server.url, "--output", str(output)])
    finally:
        server.close()
