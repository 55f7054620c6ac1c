"""Training, as a command, on machines that are short of something."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tokenizers import Tokenizer

from models import checkpoint
from tests.miniature import make_model
from tests.places import REPOSITORY
from training.recipes.mini import tables

pytestmark = pytest.mark.slow  # trains in several processes

PATIENCE = 900  # seconds; only a failure ever waits so long


def mounts_of_its_own() -> bool:
    """Whether a process may have a file system of its own on /dev/shm, as in a container."""
    if shutil.which("unshare") is None:
        return False
    small = "mount -t tmpfs -o size=4k tmpfs /dev/shm"
    return subprocess.run(["unshare", "-m", "sh", "-c", small], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory, words: Tokenizer, emoji_root: Path) -> list[str]:
    """Contrastive training of a tiny model with two processes that decode, all but --out."""
    folder = tmp_path_factory.mktemp("machines")
    checkpoint.save(folder / "start", make_model(words), words, languages=["en"], training={})
    tables.main([str(emoji_root), str(folder)])
    found = [sys.executable, "-m", "training.stages.contrastive", str(folder / "start"), "--train", "both"]
    found += ["--data", str(folder / "captions.jsonl"), "--format", "table", "--device", "cpu"]
    return [*found, "--batch", "4", "--held-out", "0.4", "--workers", "2"]


@pytest.mark.skipif(
    not mounts_of_its_own(), reason="no mounts of its own: test_processes has the rest of this"
)
def test_a_container_without_shared_memory_is_enough(command: list[str], tmp_path: Path) -> None:
    """Protects runs in containers, whose /dev/shm holds less than a batch; here, 4 KB."""
    small = 'mount -t tmpfs -o size=4k tmpfs /dev/shm && exec "$@"'
    whole = ["unshare", "-m", "sh", "-c", small, "sh", *command, "--out", str(tmp_path)]
    done = subprocess.run(whole, cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert "score" in rows[-1]
    assert "shm" not in done.stderr


def test_a_killed_process_ends_the_run_with_a_sentence(command: list[str], tmp_path: Path) -> None:
    """Protects from runs that wait for ever, and from stack traces, when the system is out of memory."""
    whole = [*command, "--out", str(tmp_path), "--epochs", "100000"]
    with subprocess.Popen(whole, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as run:
        while run.poll() is None:
            time.sleep(0.01)
            if not (tmp_path / "log.jsonl").exists():
                continue  # What it starts before its first step is something else.
            with contextlib.suppress(psutil.NoSuchProcess):
                # Those of an epoch that is just over are no longer needed: until one was.
                for process in psutil.Process(run.pid).children():
                    process.kill()
        assert run.stderr is not None
        said = run.stderr.read()
    assert run.returncode == 1
    assert said.startswith("training.stages.contrastive: a process that decodes images (pid ")
    assert "was killed by SIGKILL, as the system does when memory is short: fewer --workers" in said
    assert len(said.splitlines()) == 1


@pytest.mark.skipif(not mounts_of_its_own(), reason="no mounts of its own, so no disk that is full")
def test_a_full_disk_ends_the_run_with_a_sentence(command: list[str], tmp_path: Path) -> None:
    """Protects from stack traces where the run's folder has no place for a state; here, 200 KB."""
    small = f'mount -t tmpfs -o size=200k tmpfs {tmp_path} && exec "$@"'
    whole = ["unshare", "-m", "sh", "-c", small, "sh", *command, "--out", str(tmp_path)]
    done = subprocess.run(whole, cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_half_an_environment_of_torchrun_is_named(command: list[str], tmp_path: Path) -> None:
    """Protects people whose scheduler sets WORLD_SIZE from the stack trace of another library."""
    done = subprocess.run(
        [*command, "--out", str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "WORLD_SIZE": "2"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        "training.stages.contrastive: WORLD_SIZE is set, as torchrun does, and the rest is"
    )
    assert "RANK" in done.stderr
    assert len(done.stderr.splitlines()) == 1
