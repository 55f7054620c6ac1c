"""Prometheus' own programs, from the PATH or from where scripts/tools puts them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.places import REPOSITORY

MONITORING = REPOSITORY / "deploy" / "monitoring"
_UNPACKED = REPOSITORY / ".run" / "tools" / "usr" / "bin"


def tool(name: str) -> Path:
    """Where a program is; the test is skipped where there is none."""
    found = shutil.which(name) or shutil.which(name, path=str(_UNPACKED))
    if found is None:
        pytest.skip(f"there is no {name}: scripts/tools gets it")
    return Path(found)


def run(name: str, *arguments: str | Path, given: str | None = None) -> str:
    """What a program says, which must succeed."""
    command = [str(tool(name)), *map(str, arguments)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
