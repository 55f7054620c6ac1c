"""The benchmark of films, in its tiny form."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("av", reason="films are decoded by PyAV")

from benchmarks import video
from benchmarks.support import towers


def test_all_planted_scenes_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends with its result: twelve scenes, all found within a second, none too many."""
    monkeypatch.setattr(towers, "FOLDER", tmp_path)
    monkeypatch.setattr(sys, "argv", ["video", "--quick"])
    video.main()
    last = capsys.readouterr().out.strip().splitlines()[-1]
    result = json.loads(last.removeprefix("result: "))
    assert (result["scenes"], result["found"], result["extra"]) == (12, 12, 0)
    assert result["worst_s"] <= 1.0
    assert result["frames_per_s"] > 0
    assert list(tmp_path.glob("*.mp4")) == []
