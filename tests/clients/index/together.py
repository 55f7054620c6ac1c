"""Several processes that use one index at once, whichever engine keeps it."""

from __future__ import annotations

import subprocess
import sys

from babelclip.index import create_index, open_index
from tests.clients.index.processes import PIECE, SETTINGS
from tests.places import REPOSITORY

PATIENCE = 300.0


def start(task: str, address: str, argument: str) -> subprocess.Popen[bytes]:
    """A process that does a task of processes.py."""
    command = [sys.executable, "-m", "tests.clients.index.processes", task, address, argument]
    return subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE)


def succeed(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors.decode()[-3000:]


def work_together(address: str, *, pieces: int, compactions: int) -> None:
    """Two add, some compact, one searches; then nothing is lost and nothing is there twice."""
    create_index(address, SETTINGS).close()
    tasks = [
        ("add", f"a:{pieces}"),
        ("add", f"b:{pieces}"),
        ("search", "2"),
        *[("compact", "2")] * compactions,
    ]
    processes = [start(task, address, argument) for task, argument in tasks]
    try:
        for process in processes:
            succeed(process)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    wanted = [f"{name}-{piece}-{n}" for name in "ab" for piece in range(pieces) for n in range(1, PIECE)]
    wanted += [f"shared-{piece}-{n}" for piece in range(pieces) for n in range(PIECE)]
    with open_index(address) as index:
        found = [row.id for part in index.scan(where={"error_code": ""}, columns=()) for row in part]
        assert sorted(found) == sorted(wanted)
        assert index.info().failed == 2
