"""Where a command is to write is looked at before its work, and not found out after hours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models import assemble, outputs
from tests.places import REPOSITORY
from training.evaluation import plots


def test_what_can_be_written_passes_and_is_not_made(tmp_path: Path) -> None:
    """A folder, a file, what is in folders that are not there yet; and nothing at all."""
    (tmp_path / "file.json").touch()
    new = tmp_path / "a" / "b" / "report.json"
    outputs.check("command", "--output", tmp_path, tmp_path / "file.json", new, None)
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    """What is a file cannot become a folder; the message has command, reason and option."""
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"^command: .*out cannot be written: .*file is no folder.* --out$"):
        outputs.check("command", "--out", tmp_path / "file" / "out")


@pytest.mark.slow
def test_another_users_folder_is_refused(tmp_path: Path) -> None:
    """A user without rights is told so in one sentence."""
    (tmp_path / "shared").mkdir(mode=0o555)
    code = f"""
import os, sys
sys.path.insert(0, {str(REPOSITORY)!r})
from pathlib import Path
from models import outputs
os.chdir("/")
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
outputs.check("command", "--out", Path({str(tmp_path / "shared" / "run")!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "this user may not write to" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_commands_look_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they read what they are to work on: none of it is there."""
    (tmp_path / "file").touch()
    out = str(tmp_path / "file" / "out")
    with pytest.raises(SystemExit, match=r"models\.assemble: .* --out"):
        assemble.main(["dual-encoder", "--vision", "v", "--text", "t", "--out", out])
    monkeypatch.setattr(sys, "argv", ["plots", "recall", "missing.json", "--output", out])
    with pytest.raises(SystemExit, match=r"training\.evaluation\.plots: .* --output"):
        plots.main()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    """Protects what was written before from a command that fails in the middle of writing it anew."""
    target = tmp_path / "meta.json"
    for text in ("first", "second"):
        with outputs.replacing(target, durable=True) as partial:
            partial.write_text(text)
        assert target.read_text() == text

    def fail() -> None:
        with outputs.replacing(target) as partial:
            partial.write_text("thi")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert target.read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["meta.json"]


def test_a_folder_replaces_one_with_files_in_it(tmp_path: Path) -> None:
    """Protects a checkpoint that is trained further from files of the earlier one, or of a killed writer."""
    target = tmp_path / "model"
    for name in ("old", "new"):
        (tmp_path / f".model{outputs.PARTIAL}").mkdir()
        (tmp_path / f".model{outputs.PARTIAL}" / "left.bin").touch()
        with outputs.replacing(target) as partial:
            partial.mkdir()
            (partial / name).touch()
    assert [path.name for path in target.iterdir()] == ["new"]


def test_a_link_is_replaced_and_not_what_it_leads_to(tmp_path: Path) -> None:
    """Protects the hub's own cache, to whose folders and files links lead."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").touch()
        with outputs.replacing(tmp_path / "link", shared=True) as partial:
            partial.symlink_to(tmp_path / name)
        assert os.readlink(tmp_path / "link") == str(tmp_path / name)
    assert (tmp_path / "a" / "weights").exists()
