"""Ends what a benchmark started once the benchmark itself has ended, however that came about.

    python -m benchmarks.support.keeper

is a process beside it, which reads `process ID` and `folder PATH`, one a line. Its input ends with the
benchmark, also with one that was killed: then it kills those processes and all below them, and removes the
folders. The system's own signal for a parent's death would not do: it comes with the end of the thread that
started a process, and reaches no process below that one.
"""

import atexit
import contextlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import psutil

# Not that of benchmarks.support.towers, which brings torch: it is to be there at once.
_REPOSITORY = Path(__file__).resolve().parents[2]
_lock = threading.Lock()
_keeper: subprocess.Popen[str] | None = None


def keep_process(pid: int) -> None:
    """Have a process end with this one, and all that it starts."""
    _say(f"process {pid}")


def keep_folder(folder: Path) -> None:
    """Have a folder removed with this process."""
    _say(f"folder {folder}")


def _say(line: str) -> None:
    global _keeper
    with _lock:
        if _keeper is None:
            _keeper = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.support.keeper"],
                cwd=_REPOSITORY,
                stdin=subprocess.PIPE,
                text=True,
                start_new_session=True,  # What ends the benchmark is not to end this.
            )
            atexit.register(_end, _keeper)
        assert _keeper.stdin is not None
        _keeper.stdin.write(f"{line}\n")
        _keeper.stdin.flush()


def _end(keeper: "subprocess.Popen[str]") -> None:
    assert keeper.stdin is not None
    keeper.stdin.close()
    keeper.wait()


def watch(lines: Iterable[str]) -> None:
    """Read to the end, and clean up."""
    processes: list[psutil.Process] = []
    folders: list[str] = []
    for line in lines:
        what, _, value = line.rstrip("\n").partition(" ")
        if what == "folder":
            folders.append(value)
        else:
            # Known by more than its number from now on, which another process may have later.
            with contextlib.suppress(psutil.NoSuchProcess):
                processes.append(psutil.Process(int(value)))
    for process in processes:
        _kill(process)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _kill(process: psutil.Process) -> None:
    """A process and all below it, stopped ones too; nothing where it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


if __name__ == "__main__":
    watch(sys.stdin)
