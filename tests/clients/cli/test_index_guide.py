"""docs/index.md: its commands and programs, as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from babelclip.cli.main import app
from tests.clients.fake_server import FakeServer
from tests.clients.ingest.pictures import fill
from tests.places import REPOSITORY

GUIDE = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")


def test_the_guides_commands_and_programs_work(
    web: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reader who copies the guide from top to bottom gets an index, rows and another model."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "Pictures", 2)
    (tmp_path / "Pictures").rename(tmp_path / "photographs")
    blocks = re.findall(r"```(bash|python)\n(.*?)```", GUIDE, re.DOTALL)
    assert [language for language, _ in blocks] == ["bash", "python", "bash", "python"]
    for language, code in blocks:
        if language == "python":
            exec(code.replace("http://127.0.0.1:8080", web.url), {})
            continue
        for line in code.strip().splitlines():
            if " migrate " in line:
                web.space = "another"
                # The server of the test has one version, and vectors that mean nothing.
                line = line.replace("--to 2.0", "--min-recall 0 --drop-after 0")
            words = shlex.split(line.replace("~/Pictures", str(tmp_path / "photographs")))
            done = CliRunner().invoke(app, words[1:], env={"BABELCLIP_URL": web.url})
            assert done.exit_code == 0, (line, done.output)
    assert "photographs/0/00000.jpg" in capsys.readouterr().out


def test_the_guides_options_are_there() -> None:
    """Every option that the guide names is one of a command of `babelclip index`."""
    commands = ("add", "create", "rows", "delete", "compact", "migrate", "drop", "info")
    text = "".join(
        CliRunner().invoke(app, ["index", name, "--help"], env={"COLUMNS": "200"}).output for name in commands
    )
    for option in set(re.findall(r"[ `](--[a-z][a-z-]+)", GUIDE)):
        assert option in text, option
