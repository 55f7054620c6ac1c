"""docs/dedup.md: its commands and its program, as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from babelclip import Client
from babelclip.cli.main import app
from babelclip.index import Settings, create_index
from babelclip.ingest.add import add
from babelclip.ingest.sources.table import TableSource
from tests.clients.dedup.photographs import encoded, picture
from tests.clients.fake_server import DIM, SPACE, FakeServer
from tests.places import REPOSITORY

GUIDE = (REPOSITORY / "docs" / "dedup.md").read_text(encoding="utf-8")


def test_the_guides_commands_and_program_work(
    web: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who copies the guide finds duplicates and leaks between splits, and has files moved and moved back."""
    monkeypatch.chdir(tmp_path)
    for part, name in (("train", "a"), ("valid", "b"), ("test", "c")):
        (tmp_path / part).mkdir()
        (tmp_path / part / f"{name}.png").write_bytes(encoded(picture(1)))
        (tmp_path / f"{part}.csv").write_text(f"image,part\n{part}/{name}.png,{part}\n")
    settings = Settings(space=SPACE, dim=DIM, fields={"part": "text"})
    with create_index("photographs.index", settings) as index, Client(web.url) as client:
        for part in ("train", "valid", "test"):
            add(index, client, TableSource(tmp_path / f"{part}.csv", name=f"/data/{part}"))
    (tmp_path / "Pictures").mkdir()
    blocks = re.findall(r"```(bash|python)\n(.*?)```", GUIDE, re.DOTALL)
    assert [language for language, _ in blocks] == ["bash", "python", "bash", "bash"]
    for language, code in blocks:
        if language == "python":
            exec(code, {})
            continue
        for line in code.strip().splitlines():
            words = shlex.split(line.replace("~", str(tmp_path)), comments=True)
            done = CliRunner().invoke(app, words[1:], env={"BABELCLIP_URL": web.url})
            assert done.exit_code == ("--split" in line), (line, done.output)
    assert "a.png" in capsys.readouterr().out
    assert len(list(tmp_path.glob("t*/*.png")) + list(tmp_path.glob("valid/*.png"))) == 3
