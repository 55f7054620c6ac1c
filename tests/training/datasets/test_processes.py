"""Processes that share arrays with a run: what they give, how they die, and that none is left behind."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from tests.places import REPOSITORY
from training.datasets import processes
from training.datasets.processes import ordered
from training.datasets.rows import DataError

PATIENCE = 600  # seconds; only a failure ever waits so long
SHAPE = (4, 5)

pytestmark = [
    pytest.mark.slow,  # starts processes and kills them
    # Python 3.12 warns of every fork of a process with threads, which torch has.
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def no_hanging() -> Iterator[None]:
    """What hangs fails, instead of holding up all other tests."""

    def fail(*_: object) -> None:
        raise TimeoutError(f"nothing happened for {PATIENCE} seconds")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pid_of(process: BaseProcess) -> int:
    """Of a process that was started."""
    assert process.pid is not None
    return process.pid


def fill(task: int, array: NDArray[np.uint8]) -> str:
    """Work that tells its task in both ways."""
    array[:] = task % 256
    return f"task {task}"


@pytest.mark.parametrize("processes", [1, 2, 5])
@pytest.mark.parametrize("tasks", [0, 1, 4, 11])
def test_results_come_in_order(processes: int, tasks: int) -> None:
    """Protects the order of steps, with more tasks than processes and with fewer."""
    found = [
        (result, array.copy()) for result, array in ordered(fill, range(tasks), SHAPE, processes=processes)
    ]
    assert [result for result, _ in found] == [f"task {task}" for task in range(tasks)]
    assert all((array == task).all() for task, (_, array) in enumerate(found))
    assert not multiprocessing.active_children()


def test_an_array_is_not_written_to_while_it_is_looked_at() -> None:
    """Protects a batch from the process that made it, which goes on with the next ones."""
    for task, (_, array) in enumerate(ordered(fill, range(40), SHAPE, processes=2)):
        for _ in range(5):
            time.sleep(0.001)
            assert (array == task).all()


def test_nothing_lies_in_dev_shm() -> None:
    """Protects runs in containers, which have 64 MB of shared memory files unless told otherwise."""
    before = shared_memory_files(os.getpid())  # of what ran in this process earlier
    results = ordered(fill, range(20), (3, 224, 224, 3), processes=2)
    next(results)
    children = multiprocessing.active_children()
    assert len(children) == 2
    for pid in (os.getpid(), *map(pid_of, children)):
        assert shared_memory_files(pid) <= before
    assert isinstance(results, Generator)
    results.close()


def shared_memory_files(pid: int) -> set[str]:
    """What a process has mapped of /dev/shm, deleted files too."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line[line.index("/dev/shm") :] for line in lines if "/dev/shm" in line}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGXCPU])
@pytest.mark.parametrize("taken", [0, 1, 7])
def test_a_process_that_dies_ends_the_run(number: signal.Signals, taken: int) -> None:
    """Protects from waiting for ever for a killed process: the sentence says which, and by what."""
    results = ordered(fill, itertools.count(), SHAPE, processes=3)
    for _ in range(taken + 1):
        next(results)
    victim = multiprocessing.active_children()[taken % 3]
    os.kill(pid_of(victim), number)
    with pytest.raises(DataError, match=rf"\(pid {victim.pid}\) was killed by {number.name}"):
        list(results)
    assert not multiprocessing.active_children()


def test_a_signal_that_comes_at_once_is_a_death(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects from a process that inherits the run's handler of SIGTERM, and lives on with it."""
    start = processes._start

    def killed_at_once(*given: Any) -> Any:
        started = start(*given)
        os.kill(pid_of(started[0]), signal.SIGTERM)
        return started

    monkeypatch.setattr(processes, "_start", killed_at_once)
    handler = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with pytest.raises(DataError, match="was killed by SIGTERM"):
            list(ordered(fill, itertools.count(), SHAPE, processes=1))
    finally:
        signal.signal(signal.SIGTERM, handler)


def test_a_process_that_dies_while_it_sends_ends_the_run() -> None:
    """Protects from half a message: what cannot be read to its end is a death and not a wait."""
    results = ordered(lambda task, _: bytes(20_000_000), itertools.count(), SHAPE, processes=2)
    next(results)
    children = multiprocessing.active_children()
    # Asleep with 20 MB to send: it can only be in the middle of it.
    while {psutil.Process(child.pid).status() for child in children} != {psutil.STATUS_SLEEPING}:
        time.sleep(0.01)
    for child in children:
        os.kill(pid_of(child), signal.SIGKILL)
    with pytest.raises(DataError, match=r"was killed by SIGKILL, as the system does when memory is short"):
        list(results)


def test_a_process_that_ends_by_itself_has_died() -> None:
    """Protects from libraries that end the process they are in, be it with the code of success."""
    for code in (0, 3):
        results = ordered(lambda *_, code=code: os._exit(code), range(9), SHAPE, processes=2)
        with pytest.raises(DataError, match=rf"ended with exit code {code}$"):
            next(results)


def test_what_a_process_refuses_is_the_same_sentence_here() -> None:
    """Protects users from the traceback of another process."""

    def refuse(task: int, _: object) -> int:
        if task == 2:
            raise DataError("the third is no image")
        return task

    results = ordered(refuse, range(9), SHAPE, processes=2)
    assert [next(results)[0], next(results)[0]] == [0, 1]
    with pytest.raises(DataError, match=r"^the third is no image$"):
        next(results)
    assert not multiprocessing.active_children()


def test_a_process_that_cannot_be_started_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects from a stack trace where the system allows no more processes; those that run are ended."""
    started = []

    def refuse(process: multiprocessing.process.BaseProcess) -> None:
        started.append(process)
        if len(started) == 3:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        start(process)

    start = multiprocessing.context.ForkProcess.start
    monkeypatch.setattr(multiprocessing.context.ForkProcess, "start", refuse)
    with pytest.raises(DataError, match=r"could not be started \(Resource temp.*\): fewer --workers"):
        next(ordered(fill, range(9), SHAPE, processes=5))
    assert not multiprocessing.active_children()


RUN = """
import itertools, multiprocessing, time
from training.datasets import processes
from training.datasets.processes import ordered
from tests.places import REPOSITORY

def work(task, array):
    return bytes(300_000)  # more than a pipe holds: some of them wait to send, others to be asked

results = ordered(work, itertools.count(), (1,), processes=3)
next(results)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
time.sleep(3600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_the_run(number: signal.Signals) -> None:
    """Protects machines from processes without a run, however the run was ended."""
    run = subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with run:
        assert run.stdout is not None
        pids = [int(pid) for pid in run.stdout.readline().split()]
        assert len(pids) == 3
        run.send_signal(number)
        assert run.wait() == -number
        while any(_lives(pid) for pid in pids):
            time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
