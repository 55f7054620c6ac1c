"""What scripts/serve has scripts/setup install, by what it is asked to serve."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.places import MINI, PHOTOS, REPOSITORY


def stub(path: Path, line: str) -> None:
    """A program of one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("words", "groups"),
    [
        ([], "serve gateway"),
        ([MINI], "serve gateway train"),
        ([PHOTOS, "--dtype", "int8"], "serve gateway train photos"),
        (["hf-hub:a/b", "--engine", "ray"], "serve gateway train ray"),
    ],
)
def test_what_is_served_decides_what_is_installed(
    words: list[str | Path], groups: str, tmp_path: Path
) -> None:
    """Protects a newcomer's first command from ending because a package is missing."""
    stub(tmp_path / "scripts" / "setup", 'echo "$*"')
    for name in ("serve", "environment.sh"):
        shutil.copy(REPOSITORY / "scripts" / name, tmp_path / "scripts")
    stub(tmp_path / "venv" / "bin" / "python", "exit 0")
    done = subprocess.run(
        [tmp_path / "scripts" / "serve", *words],
        env={**os.environ, "BABELCLIP_VENV": str(tmp_path / "venv")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == groups
