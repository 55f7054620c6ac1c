"""The systemd unit: one that systemd understands, and closed by systemd's own measure."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import REPOSITORY

UNIT = REPOSITORY / "deploy" / "systemd" / "babelclip.service"
# systemd-analyze's measure is from 0 (closed) to 10; it calls what is below 2.0 OK.
EXPOSURE = 1.5

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


@needs_systemd
def test_the_unit_is_understood(tmp_path: Path) -> None:
    """No line is unknown or wrong to systemd, which would pass over it."""
    program = "/opt/babelclip/.venv/bin/python"
    text = UNIT.read_text()
    assert program in text
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace(program, sys.executable))  # systemd looks whether it is there
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert copy.name not in done.stderr


@needs_systemd
def test_the_unit_is_closed() -> None:
    """What the service does not need is taken from it, by systemd's own measure."""
    command = ["systemd-analyze", "security", "--no-pager", "--offline=yes"]
    done = subprocess.run(
        [*command, f"--threshold={int(EXPOSURE * 10)}", UNIT], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_what_it_starts_exists() -> None:
    """The program and the settings of the unit are those of the repository."""
    start = next(line for line in UNIT.read_text().splitlines() if line.startswith("ExecStart="))
    script = next(word for word in start.split() if word.endswith(".py"))
    assert (REPOSITORY / Path(script).relative_to("/opt/babelclip")).exists()
    help_text = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "serve.py", "--help"], capture_output=True, text=True
    ).stdout
    for option in (word for word in start.split() if word.startswith("--")):
        assert option in help_text
