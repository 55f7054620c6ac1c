"""`babelclip shadow` against a server with two versions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from babelclip.cli.main import app
from tests.clients.fake_server import FakeServer, http_server


@pytest.fixture
def two() -> Iterator[FakeServer]:
    """A server whose versions are of two spaces."""
    fake = http_server()
    fake.default = "1.0"
    yield fake
    fake.close()


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """60 images and 60 texts, as arguments."""
    (tmp_path / "images").mkdir()
    for number in range(60):
        (tmp_path / "images" / f"{number}.png").write_bytes(bytes([number]))
    (tmp_path / "texts.txt").write_text("\n".join(f"Text {number}" for number in range(60)), encoding="utf-8")
    return [str(tmp_path / "images"), "--texts", str(tmp_path / "texts.txt")]


def test_the_exit_code_is_the_judgement(two: FakeServer, inputs: list[str]) -> None:
    """A script promotes what gives the same, and nothing that has never been seen working."""
    more = ["--url", two.url, "--language", "es", "--max-latency", "1000"]
    command = ["shadow", *inputs, *more, "--candidate"]
    done = CliRunner().invoke(app, [*command, "2.0", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.output)
    assert (report["promote"], report["items"]) == (True, {"text": 60, "image": 60})
    assert {version for _, version, _ in two.requests} == {None, "1.0", "2.0"}
    assert {request.language for _, _, request in two.requests if request.texts} == {"es"}

    done = CliRunner().invoke(app, [*command, "9.9"])
    assert done.exit_code == 1
    assert "promote: no" in done.output
    assert "ModelNotFound" in done.output


def test_what_cannot_be_read_is_a_sentence(two: FakeServer, inputs: list[str], tmp_path: Path) -> None:
    """A missing file of texts ends the command with one line."""
    missing = [inputs[0], "--texts", str(tmp_path / "none.txt")]
    done = CliRunner().invoke(app, ["shadow", *missing, "--url", two.url, "--candidate", "2.0"])
    assert done.exit_code == 3
    assert "none.txt" in done.output
