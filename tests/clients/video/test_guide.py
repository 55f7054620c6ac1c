"""The commands and programs of docs/video.md, as they stand, on a film."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.video.films import write_film
from tests.clients.video.test_mini_model import DRAWINGS, drawing
from tests.places import REPOSITORY
from tests.shared import mini_store

pytest.importorskip("lancedb", reason="an index in a folder is kept by LanceDB")


def blocks() -> list[tuple[str, str]]:
    """(language, code), in order."""
    text = (REPOSITORY / "docs" / "video.md").read_text(encoding="utf-8")
    return re.findall(r"```(bash|python)\n(.*?)```", text, re.DOTALL)


@pytest.mark.slow
def test_a_readers_commands_work(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Protects a newcomer from commands that were true once; one after the other, as they are read."""
    url = f"mar:{mini_store(tmp_path_factory)}"
    frames = [drawing(emoji) for emoji in DRAWINGS for _ in range(20)]
    write_film(tmp_path / "holiday.mp4", frames)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"BABELCLIP_URL": url, "PATH": path}
    assert [language for language, _ in blocks()] == ["bash", "bash", "python", "bash", "python"]
    for language, code in blocks():
        code = code.replace("http://127.0.0.1:8080", url)
        command = [sys.executable, "-c", code] if language == "python" else ["bash", "-euc", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout
    assert len(list((tmp_path / "scenes").glob("*.jpg"))) == len(DRAWINGS)
