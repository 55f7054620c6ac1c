"""Several processes of one gateway on the same ports, for more callers than one processor can serve.

The kernel spreads connections over the processes (SO_REUSEPORT), and each serves those it gets, with its own
connections to the engine. This process serves none: it starts them, starts another where one ends, shows the
metrics of all, and ends them in order. The sockets for HTTP are its own, so that who connects while a process
is being started again waits for that instead of being refused.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from gateway import request_log, serve
from gateway.keys import KeyFile
from gateway.merged_metrics import merged
from gateway.metrics_server import MetricsServer
from gateway.serve import Addresses
from gateway.settings import LOOPBACK, Settings

# How often in a row a process may end before it serves until all are given up.
_TRIES = 3
_log = logging.getLogger(__name__)
# A process that was forked would have half of gRPC's threads.
_spawned = multiprocessing.get_context("spawn")


class WorkerFailed(Exception):
    """A process of the gateway cannot be started; the message says why."""


def run(settings: Settings, listening: Callable[[Addresses], None], *, until_eof: bool = False) -> None:
    """Serve with `settings.workers` processes until SIGTERM or SIGINT; then answer what is under way.

    Called in the main thread.

    Args:
        listening: told once where the gateway listens, when all processes do.
        until_eof: end, too, when the standard input does.

    Raises:
        OSError: a port is taken or may not be.
        WorkerFailed: a process could not be started.
    """
    with contextlib.ExitStack() as opened:
        stops: list[socket.socket | int] = [opened.enter_context(_signals())]
        if until_eof:
            stops.append(sys.stdin.fileno())
        listeners = [
            opened.enter_context(one) for one in _listeners(settings.host, settings.port, settings.workers)
        ]
        reserved = opened.enter_context(_reserved(settings.host, settings.grpc_port))
        port, grpc_port = (one.getsockname()[1] for one in (listeners[0], reserved))
        own = replace(
            settings,
            port=port,
            grpc_port=grpc_port,
            metrics_port=0,
            metrics_host=LOOPBACK,
            engine_metrics="",
            queue_metrics="",
        )
        workers: list[_Worker] = []
        opened.callback(_end, workers)
        for number, listener in enumerate(listeners):
            workers.append(_Worker(number, own, listener))
        metrics = MetricsServer.of(merged(lambda: _metrics(workers)), settings)
        opened.callback(metrics.close)
        told = False
        while not _stopped(stops, workers):
            for worker in workers:
                worker.look()
            first = workers[0].addresses
            if not told and first is not None and all(one.addresses is not None for one in workers):
                listening(replace(first, metrics=metrics.address))
                told = True


class _Worker:
    """One of the processes, started when this is made, and whatever takes its place when it ends.

    Attributes:
        addresses: where it listens; None while it does not.
    """

    def __init__(self, number: int, settings: Settings, listener: socket.socket) -> None:
        self.number = number
        self.addresses: Addresses | None = None
        self.listener = listener
        self._settings = settings
        self._has_served = False
        self._tries = 0
        self._start()

    def _start(self) -> None:
        self._said = ""
        self._told, tell = _spawned.Pipe(duplex=False)
        arguments = (self.number, self._settings, self.listener, tell)
        self.process: BaseProcess = _spawned.Process(target=_work, args=arguments)
        self.process.start()
        tell.close()  # It is the process's alone: with it, it ends.

    def waits(self) -> list[Connection | int]:
        """What becomes ready when there is something to `look` at."""
        return [self.process.sentinel, *([] if self._told.closed else [self._told])]

    def look(self) -> None:
        """Takes what the process says; starts another where it has ended.

        Raises:
            WorkerFailed: it ended before it served: the first one, or several in a row.
        """
        ended = not self.process.is_alive()  # Before the rest is read of what it said.
        if not self._told.closed and self._told.poll():
            try:
                said = self._told.recv()
            except EOFError:
                self._told.close()
            else:
                if isinstance(said, Addresses):
                    self.addresses, self._has_served, self._tries = said, True, 0
                    _log.info("worker %d serves, as process %s", self.number, self.process.pid)
                else:
                    self._said = said
        if ended:
            self._start_again()

    def _start_again(self) -> None:
        self._tries += self.addresses is None
        self.addresses = None
        self._told.close()
        status = self.process.exitcode or 0
        ended = f"ended by signal {-status}" if status < 0 else f"ended with status {status}"
        if not self._has_served or self._tries == _TRIES:
            raise WorkerFailed(self._said or f"worker {self.number} {ended} before it served")
        _log.error("worker %d, process %s, %s; starting another", self.number, self.process.pid, ended)
        self._start()


def _metrics(workers: list[_Worker]) -> dict[int, str]:
    return {one.number: "" if one.addresses is None else one.addresses.metrics for one in workers}


def _stopped(stops: list[socket.socket | int], workers: list[_Worker]) -> bool:
    """Waits until there is something to look at → whether that is a stop."""
    ready = wait([*stops, *(each for worker in workers for each in worker.waits())])
    for stop in stops:
        if stop not in ready:
            continue
        if not isinstance(stop, int) or not os.read(stop, 4096):
            return True
    return False


def _end(workers: list[_Worker]) -> None:
    """Let all answer what is under way, and end; who connects meanwhile is refused."""
    give_up = time.monotonic() + serve.DRAIN_SECONDS + 5
    for worker in workers:
        worker.listener.close()
        worker.process.terminate()
    for process in (worker.process for worker in workers):
        process.join(max(0.0, give_up - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _work(number: int, settings: Settings, listener: socket.socket, tell: Connection) -> None:
    """What each process does."""
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s %(levelname)s worker {number} %(name)s: %(message)s"
    )
    request_log.set_up(enabled=settings.log_requests)
    parent = multiprocessing.parent_process()
    assert parent is not None
    try:
        keys = KeyFile(settings.keys_file) if settings.authentication else None
        # With the parent, its end of this pipe ends: it was killed, and can end nothing.
        serve.serve(settings, keys, tell.send, http_socket=listener, until_eof=parent.sentinel)
    except (OSError, ValueError) as error:
        tell.send(str(error))
        sys.exit(1)


def _listeners(host: str, port: int, count: int) -> list[socket.socket]:
    """Sockets that listen on one port, between which the kernel spreads connections; 0 takes a free one."""
    with serve.listen(host, port) as alone:  # Nobody else does: with another gateway it would be shared too.
        family, port = alone.family, alone.getsockname()[1]
    return [
        serve.without_delay(
            socket.create_server((host, port), family=family, backlog=serve.BACKLOG, reuse_port=True)
        )
        for _ in range(count)
    ]


def _reserved(host: str, port: int) -> socket.socket:
    """A socket that keeps a port for the processes' gRPC and takes no connection; 0 takes a free one."""
    with serve.listen(host, port) as alone:
        family, port = alone.family, alone.getsockname()[1]
    reserved = socket.socket(family)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind((host, port))
    return reserved


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that becomes readable when SIGTERM or SIGINT comes."""
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(number, lambda *_: None) for number in numbers]
        signal.set_wakeup_fd(writer.fileno())
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
