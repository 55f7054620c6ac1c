"""The commands and programs of docs/video.md, as they stand, on a film."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.video.films import write_film
from tests.clients.video.test_mini_model import DRAWINGS, drawing
from tests.guides import blocks, run_block
from tests.needs import needs
from tests.shared import mini_store

needs("lancedb", reason="an index in a folder is kept by LanceDB")


@pytest.mark.slow
def test_a_readers_commands_work(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a newcomer from commands that were true once; one after the other, as they are read."""
    url = f"mar:{mini_store(tmp_path_factory)}"
    frames = [drawing(emoji) for emoji in DRAWINGS for _ in range(20)]
    write_film(tmp_path / "holiday.mp4", frames)
    monkeypatch.setenv("BABELCLIP_URL", url)
    guide = blocks("video.md")
    assert [language for language, _ in guide] == ["bash", "bash", "python", "bash", "python"]
    for language, code in guide:
        code = code.replace("http://127.0.0.1:8080", url)
        assert run_block(language, code, tmp_path, monkeypatch)
    assert len(list((tmp_path / "scenes").glob("*.jpg"))) == len(DRAWINGS)
