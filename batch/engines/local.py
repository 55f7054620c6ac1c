"""Processes of this machine, each with a tower of its own.

They are started afresh and not forked: a runtime's threads would not be in the child. Each has a pipe, which
breaks when it is killed; and each ends when the driver does, so that none writes beside the next run.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from babelclip.errors import BabelclipError
from batch.engines.base import Advanced, EngineError, Event, Failed, Finished, Lost, Started
from batch.shards import Counts, Shard, ShardError
from batch.worker import OutputFull, Task, Worker, WorkerLost, sentence

_SECONDS = 1.0  # that `events` waits
_END_SECONDS = 10.0  # that a worker which was told to end may take


@dataclass(frozen=True)
class _Broken:
    """Said by a worker that cannot load its tower, or finds the disk full: no other will do better."""

    reason: str


@dataclass(frozen=True)
class _Unreadable:
    """Said by a worker of its shard; `lost` where it ends with that."""

    reason: str
    lost: bool


@dataclass
class _Process:
    process: SpawnProcess
    pipe: Connection
    started: bool = False
    shard: Shard | None = None


class LocalWorkers:
    """See `batch.engines.base.Workers`."""

    def __init__(self, task: Task, count: int) -> None:
        self._task = task
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, _Process] = {}
        self._next = 0
        self._count = count

    def __enter__(self) -> LocalWorkers:
        for _ in range(self._count):
            self._start()
        return self

    def __exit__(self, *raised: object) -> None:
        for one in self._workers.values():
            one.pipe.close()  # Which ends it, when it looks; one that computes is not waited for.
            if one.shard is not None:
                one.process.terminate()
        for one in self._workers.values():
            one.process.join(_END_SECONDS)
            if one.process.is_alive():
                one.process.kill()
                one.process.join()
            one.process.close()
        self._workers.clear()

    @property
    def idle(self) -> Sequence[int]:
        return [number for number, one in self._workers.items() if one.started and one.shard is None]

    @property
    def busy(self) -> Collection[int]:
        return [number for number, one in self._workers.items() if one.shard is not None]

    @property
    def processes(self) -> dict[int, int]:
        """The id of each worker's process."""
        return {number: one.process.pid or 0 for number, one in self._workers.items()}

    def submit(self, worker: int, shard: Shard) -> None:
        one = self._workers[worker]
        one.shard = shard
        try:
            one.pipe.send(shard)
        except OSError:  # It is gone, which `events` tells.
            return

    def events(self) -> Sequence[Event]:
        by_pipe = {one.pipe: number for number, one in self._workers.items()}
        found: list[Event] = []
        for ready in connection.wait(list(by_pipe), _SECONDS):
            found += self._heard(by_pipe[ready])  # type: ignore[index]
        return found

    def _heard(self, number: int) -> list[Event]:
        one = self._workers[number]
        try:
            said = one.pipe.recv()
        except (EOFError, OSError):
            one.process.join(_END_SECONDS)
            return self._replace(number, _death(one.process.exitcode))
        if isinstance(said, _Broken):
            raise EngineError(said.reason)
        if isinstance(said, Counts) and one.shard is not None:
            return [Advanced(number, said)]
        if said is None:
            one.started = True
            return [Started(number)]
        shard = one.shard
        assert shard is not None
        if isinstance(said, _Unreadable):
            if said.lost:
                return self._replace(number, said.reason)
            one.shard = None
            return [Failed(number, shard, said.reason)]
        one.shard = None
        return [Finished(number, shard, said[0])]

    def _replace(self, number: int, reason: str) -> list[Event]:
        one = self._workers.pop(number)
        one.pipe.close()
        one.process.join(_END_SECONDS)
        if one.process.is_alive():
            one.process.kill()
            one.process.join()
        one.process.close()
        self._start()
        if one.shard is None:
            return [Lost(number, reason)]
        return [Failed(number, one.shard, reason, lost=True)]

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._task), daemon=True)
        process.start()
        theirs.close()  # Else the pipe would not break when the worker ends.
        self._workers[self._next] = _Process(process, ours)
        self._next += 1


def _death(status: int | None) -> str:
    if status is not None and status < 0:
        return f"its worker was killed by {signal.Signals(-status).name}"
    return f"its worker ended with status {status}"


def _serve(pipe: Connection, task: Task) -> None:
    """What a worker's process does: None when the tower is loaded, then an answer for each shard."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which ends its workers.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        worker = Worker(task)
    except (BabelclipError, OSError, ImportError, ValueError) as error:
        pipe.send(_Broken(sentence(error)))
        return
    try:
        pipe.send(None)
        while True:
            shard = pipe.recv()
            try:
                pipe.send((worker.run(shard, pipe.send),))
            except ShardError as error:
                pipe.send(_Unreadable(sentence(error), lost=False))
            except OutputFull as error:
                pipe.send(_Broken(sentence(error)))
                return
            except WorkerLost as error:
                pipe.send(_Unreadable(sentence(error), lost=True))
                return
    except (EOFError, BrokenPipeError, ConnectionResetError):  # The driver has no more.
        return
    finally:
        worker.close()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
