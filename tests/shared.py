"""What several tests need and takes long to make: made once in a run, whichever process comes first."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.places import MINI, REPOSITORY


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` of this run, filled by `make`; other processes of the run wait for it and share it.

    Nobody may change what is in it.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # Each worker has a folder of its own in that of the run.
    folder, done = root / f"shared-{name}", root / f"shared-{name}.done"
    with FileLock(root / f"shared-{name}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed to make it
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def run_export(*words: str | Path) -> None:
    """`python -m export`, as a user runs it; it must succeed."""
    command = [sys.executable, "-m", "export", *map(str, words)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def mini_store(factory: pytest.TempPathFactory) -> Path:
    """A model store with the archives of the committed checkpoint, in both forms."""
    return made_once(factory, "mini-store", lambda folder: run_export(MINI, "--store", folder))
