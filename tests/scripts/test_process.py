"""The folder of one server: what is said of one that cannot be used."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from serving import LaunchError
from serving.process import LONGEST_TEMP_PATH, RunFolder
from tests.places import REPOSITORY

SCRIPTS = REPOSITORY / "scripts"


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    """What stands in the way is named, and the option that leads elsewhere."""
    (tmp_path / "file").touch()
    with pytest.raises(LaunchError, match=r"file.*--run-dir"), RunFolder(tmp_path / "file" / "run").held():
        pass


def test_a_long_path_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's socket has 107 bytes for its path: temporary files of a deep folder stand elsewhere.

    They are private there, two folders have two, and where no short path is to be had that is said.
    """
    folder = RunFolder(tmp_path / ("模" * 40) / "run")
    assert folder.temp != RunFolder(tmp_path / ("模" * 41) / "run").temp
    with folder.held():
        assert len(bytes(folder.temp)) <= LONGEST_TEMP_PATH
        assert folder.temp.stat().st_mode & 0o777 == 0o700
    assert not folder.temp.exists()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("d" * 100)))
    with pytest.raises(LaunchError, match="too long"), RunFolder(folder.path).held():
        pass


def test_another_users_folder_is_a_sentence(tmp_path: Path) -> None:
    """In a checkout of somebody else's, a user without rights is told to choose another folder."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o555)
    code = f"""
import os, sys
sys.path.insert(0, {str(SCRIPTS)!r})
from pathlib import Path
from serving import LaunchError
from serving.process import RunFolder
from tests.places import REPOSITORY
folder = RunFolder(Path({str(tmp_path / "run")!r}))
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    with folder.held(): pass
except LaunchError as problem:
    print(problem)
"""
    tmp_path.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Permission denied; choose another folder with --run-dir" in done.stdout, done.stderr


def test_an_error_is_told_though_others_write_on(tmp_path: Path) -> None:
    """The reason of a worker's death is among what an operator is shown, however much follows in the log."""
    folder = RunFolder(tmp_path / "run")
    folder.log.parent.mkdir(parents=True)
    begun = "2026-01-01T00:00:00,000 INFO  W-9000-text_1.0-stdout MODEL_LOG - "
    reason = f"{begun}ValueError: meta.json is not of format 2"
    others = [f"{begun}Python runtime: 3.11.{number}" for number in range(60)]
    folder.log.write_text("\n".join([*others, f"{begun}Traceback (most recent call last):", reason, *others]))
    shown = folder.last_lines().splitlines()
    assert shown == [f"--- {folder.log}", reason, *others[-25:]]
