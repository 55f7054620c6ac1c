"""What a benchmark started ends with it, whatever ends the benchmark."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.support import haproxy
from benchmarks.support.keeper import watch
from tests.e2e.support import PATIENCE
from tests.places import REPOSITORY

# A benchmark's command in its quick form, whose files are in another folder.
COMMAND = """
import runpy, sys
from pathlib import Path
from benchmarks.support import towers
towers.FOLDER = Path(sys.argv.pop(1))
runpy.run_module("benchmarks.replicas", run_name="__main__", alter_sys=True)
"""
PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="keeper", dir="/tmp") as folder:
        yield Path(folder)


def started() -> tuple[subprocess.Popen[str], psutil.Process]:
    """A process, and the one below it."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        return parent, psutil.Process(int(parent.stdout.readline()))


def test_processes_end_with_all_below_them_and_folders_go(tmp_path: Path) -> None:
    """Also one that is stopped; what has ended already, or was never named, is left alone."""
    (tmp_path / "made" / "below").mkdir(parents=True)
    parent, child = started()
    os.kill(parent.pid, signal.SIGSTOP)
    other, spared = started()
    try:
        watch([f"process {parent.pid}\n", f"folder {tmp_path / 'made'}\n", f"process {2**22 + 1}\n"])
        assert parent.wait(PATIENCE) == -signal.SIGKILL
        wait_ended([child])
        assert not (tmp_path / "made").exists()
        assert spared.is_running()
        assert other.poll() is None
    finally:
        for one in (spared, child):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        for process in (other, parent):
            process.kill()
        other.wait(PATIENCE)
        parent.wait(PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda one: one.name)
def test_a_benchmark_that_is_ended_leaves_nothing_behind(
    tmp_path: Path, short: Path, ending: signal.Signals
) -> None:
    """Replicas, each in a session of its own, and HAProxy with its workers and sockets."""
    if haproxy.find() is None:
        pytest.skip("there is no haproxy: scripts/tools gets it")
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(tmp_path), "--quick"],
            cwd=REPOSITORY,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(short)},
        )
    try:
        give_up = time.monotonic() + PATIENCE
        while "haproxy" not in (names := names_below(process)) or len(names) < 6:
            assert process.poll() is None, (tmp_path / "output").read_text()
            assert time.monotonic() < give_up, names
            time.sleep(0.05)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(ending)
        assert process.wait(PATIENCE) == -ending
        wait_ended(family)
        assert [one.name for one in short.iterdir() if one.name.startswith("haproxy")] == []
    finally:
        process.kill()
        process.wait(PATIENCE)


def wait_ended(processes: list[psutil.Process]) -> None:
    """Until none of them runs; one that nobody has waited for yet is not there any more."""
    give_up = time.monotonic() + PATIENCE
    while left := [one for one in processes if not has_ended(one)]:
        assert time.monotonic() < give_up, left
        time.sleep(0.05)


def has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def names_below(process: "subprocess.Popen[bytes]") -> list[str]:
    """What the processes below one are called."""
    return [one.name() for one in psutil.Process(process.pid).children(recursive=True)]
