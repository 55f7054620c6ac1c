"""Work in several processes on arrays that they share with the run, with no way for a dead one to hang it.

Not torch's DataLoader. That sends every batch through /dev/shm, of which a container has 64 MB unless told
otherwise; from a thread whose errors nobody hears, so that the run waits for ever for what was not sent; and
over one queue, whose lock a killed process takes along. Here the arrays lie in memory that is mapped before
the fork and is bounded by the machine's memory alone, and each process alone holds the other end of its pipe:
when it dies, the kernel closes that end.
"""

import itertools
import mmap
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from training.datasets.rows import DataError

AHEAD = 2  # arrays of each process: one is filled while the other waits to be taken

Pixels = NDArray[np.uint8]
Task = TypeVar("Task")
Result = TypeVar("Result")


def ordered(
    work: Callable[[Task, Pixels], Result], tasks: Iterable[Task], shape: tuple[int, ...], *, processes: int
) -> Iterator[tuple[Result, Pixels]]:
    """`work(task, array)` of every task in order, with the uint8 array [*shape] that it wrote to.

    An array is good until the next result is asked for. `tasks` is gone through in each process, from a copy
    of its state; `work` gives what can be pickled, and never None.

    Raises:
        DataError: `work` raised it; or a process could not be started, or has died, and of what.
    """
    started: list[tuple[ForkProcess, Connection, list[Pixels]]] = []
    try:
        for number in range(processes):
            mine = itertools.islice(tasks, number, None, processes)
            started.append(_start(work, mine, shape, [pipe for _, pipe, _ in started]))
        for turn in itertools.count():
            process, pipe, arrays = started[turn % processes]
            try:
                result = pipe.recv()
            except (EOFError, OSError) as error:
                raise DataError(_death(process)) from error
            if isinstance(result, DataError):
                raise result
            if result is None:
                return
            yield result, arrays[turn // processes % AHEAD]
            try:
                pipe.send_bytes(b"")
            except OSError as error:
                raise DataError(_death(process)) from error
    finally:
        for process, pipe, _ in started:
            pipe.close()
            process.kill()  # It holds nothing but copies, and may be in the middle of a long batch.
        for process, _, _ in started:
            process.join()
            process.close()


def _start(
    work: Callable[[Task, Pixels], Any],
    tasks: Iterator[Task],
    shape: tuple[int, ...],
    others: list[Connection],
) -> tuple[ForkProcess, Connection, list[Pixels]]:
    context = multiprocessing.get_context("fork")  # A copy of millions of examples costs nothing.
    ours, theirs = context.Pipe()
    try:
        arrays = [_shared(shape) for _ in range(AHEAD)]
        # What handles a signal in the run is inherited, and would swallow one that comes before `_serve`.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            process = context.Process(
                target=_serve, args=(work, tasks, arrays, theirs, [*others, ours], held), daemon=True
            )
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
    except OSError as error:
        ours.close()
        sentence = f"a process that decodes images could not be started ({error.strerror}): fewer --workers"
        raise DataError(sentence) from error
    finally:
        theirs.close()
    return process, ours, arrays


def _shared(shape: tuple[int, ...]) -> Pixels:
    memory = mmap.mmap(-1, max(1, int(np.prod(shape))))
    return np.frombuffer(memory, np.uint8, count=int(np.prod(shape))).reshape(shape)


def _serve(
    work: Callable[[Task, Pixels], Any],
    tasks: Iterator[Task],
    arrays: list[Pixels],
    pipe: Connection,
    inherited: list[Connection],
    mask: set[signal.Signals],
) -> None:
    """What runs in a process: results until there are no more tasks, or the run has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the run ends the others.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for end in inherited:
        end.close()  # Else it would keep the run's end of the others' pipes open when the run is killed.
    try:
        for turn, task in enumerate(tasks):
            if turn >= AHEAD:
                pipe.recv_bytes()  # The array's result before this one is no longer looked at.
            try:
                result = work(task, arrays[turn % AHEAD])
            except DataError as error:
                result = error
            pipe.send(result)
        pipe.send(None)
        while True:  # It stays until the run lets go of it: one that ends by itself has died.
            pipe.recv_bytes()
    except (EOFError, ConnectionError):
        return


def _death(process: ForkProcess) -> str:
    """One sentence on what a process died of."""
    process.join()
    code, who = process.exitcode or 0, f"a process that decodes images (pid {process.pid})"
    if code >= 0:
        return f"{who} ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if -code == signal.SIGKILL:
        return (
            f"{who} was killed by {name}, as the system does when memory is short: fewer --workers, or a "
            "smaller batch, need less"
        )
    return f"{who} was killed by {name}"
