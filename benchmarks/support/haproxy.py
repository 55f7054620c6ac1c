"""HAProxy as a process: a master, which stays, and a worker, which a reload replaces."""

import contextlib
import csv
import io
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support import keeper
from benchmarks.support.towers import REPOSITORY

PATIENCE = 300.0  # seconds for what must happen soon
POLL = 0.02
_TOOLS = REPOSITORY / ".run" / "tools" / "usr"


class ProxyError(RuntimeError):
    """HAProxy refused a configuration, or did not do what it was told."""


@dataclass(frozen=True)
class Program:
    """Where the program is, and the environment that it needs."""

    path: str
    environment: Mapping[str, str]


def find() -> Program | None:
    """HAProxy of the PATH or of the system, or the one that scripts/tools gets; None where there is none."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    if found := shutil.which("haproxy", path=places):
        return Program(found, os.environ)
    unpacked = _TOOLS / "sbin" / "haproxy"
    if not unpacked.exists():
        return None
    libraries = os.pathsep.join(str(folder) for folder in (_TOOLS / "lib").glob("*-linux-gnu"))
    return Program(str(unpacked), {**os.environ, "LD_LIBRARY_PATH": libraries})


class Proxy:
    """A running HAProxy; its `folder` has the configuration, the sockets and the log.

    Raises:
        ProxyError: it refuses the configuration; the message has its words.
    """

    def __init__(self, program: Program, folder: Path, configuration: str) -> None:
        self._program = program
        self.folder = folder
        self._config = folder / "haproxy.cfg"
        self._check(configuration)
        command = [program.path, "-W", "-f", str(self._config), "-S", str(folder / "master.sock")]
        with (folder / "haproxy.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=dict(program.environment)
            )
        keeper.keep_process(self.process.pid)
        self._wait("a worker", lambda: bool(self._workers()[0]))

    def reload(self, configuration: str) -> None:
        """Take over another configuration: new connections meet it when this returns.

        Those that are open finish what is under way and are closed: `wait_left` waits for that.

        Raises:
            ProxyError: it refuses the configuration, and goes on with the one before.
        """
        self._check(configuration)
        # Else the new worker would take every replica for up until it has asked.
        state = self.ask("show servers state")
        (self.folder / "servers").write_text(state, encoding="utf-8")
        before = self._workers()[0]
        self.process.send_signal(signal.SIGUSR2)
        self._wait("the new worker", lambda: bool(self._workers()[0] - before) and self._answers())

    def wait_left(self) -> None:
        """Wait until no worker of an earlier configuration is there."""
        self._wait("the end of the old workers", lambda: not self._workers()[1])

    def wait_status(self, backend: str, server: str, *, up: bool) -> None:
        """Wait until a server counts as up, or as down."""
        what = f"{backend}/{server} to be {'up' if up else 'down'}"
        self._wait(what, lambda: self.statuses().get((backend, server), "").startswith("UP") is up)

    def statuses(self) -> dict[tuple[str, str], str]:
        """By backend and server: UP, DOWN, MAINT and so on, with `1/2` behind them on the way to another."""
        rows = csv.DictReader(io.StringIO(self.ask("show stat").removeprefix("# ")))
        return {
            (row["pxname"], row["svname"]): row["status"]
            for row in rows
            if row["svname"] not in ("FRONTEND", "BACKEND")
        }

    def ask(self, command: str) -> str:
        """What the worker's socket answers to a command of HAProxy's management."""
        return _ask(self.folder / "admin.sock", command)

    def log(self) -> str:
        """What it has said."""
        return (self.folder / "haproxy.log").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End it once what is under way is answered."""
        self.process.send_signal(signal.SIGUSR1)
        try:
            self.process.wait(timeout=30.0)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            self.process.wait(timeout=PATIENCE)

    def _check(self, configuration: str) -> None:
        tried = self.folder / "tried.cfg"
        tried.write_text(configuration, encoding="utf-8")
        done = subprocess.run(
            [self._program.path, "-c", "-f", str(tried)],
            capture_output=True,
            text=True,
            env=dict(self._program.environment),
        )
        if done.returncode:
            raise ProxyError(f"HAProxy refuses the configuration:\n{done.stdout}{done.stderr}")
        tried.replace(self._config)

    def _workers(self) -> tuple[set[int], set[int]]:
        """The process ids of the present worker, and of those that end."""
        found: dict[str, set[int]] = {"workers": set(), "old workers": set()}
        part: set[int] = set()
        try:
            shown = _ask(self.folder / "master.sock", "show proc")
        except OSError:  # The master makes its socket anew in a reload.
            return set(), set()
        for line in shown.splitlines():
            if line.startswith("# "):
                part = found.get(line.removeprefix("# ").strip(), set())
            elif line and not line.startswith("#") and line.split()[1] == "worker":
                part.add(int(line.split()[0]))
        return found["workers"], found["old workers"]

    def _answers(self) -> bool:
        """Whether the socket is that of the present worker."""
        try:
            shown = self.ask("show info")
        except OSError:
            return False
        pid = next((line.split()[1] for line in shown.splitlines() if line.startswith("Pid: ")), "")
        return int(pid or 0) in self._workers()[0]

    def _wait(self, what: str, happened: Callable[[], bool]) -> None:
        give_up = time.monotonic() + PATIENCE
        while not happened():
            if self.process.poll() is not None:
                raise ProxyError(f"HAProxy ended by itself:\n{self.log()}")
            if time.monotonic() > give_up:
                raise ProxyError(f"waited in vain for {what}:\n{self.log()}")
            time.sleep(POLL)


def _ask(path: Path, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10.0)
        connection.connect(str(path))
        connection.sendall(command.encode() + b"\n")
        connection.shutdown(socket.SHUT_WR)
        answer = bytearray()
        while part := connection.recv(65536):
            answer += part
    return answer.decode()


@contextlib.contextmanager
def running(configure: Callable[[Path], str]) -> Iterator[Proxy]:
    """HAProxy with the configuration that `configure` makes for its folder; it is stopped at the end.

    Raises:
        SystemExit: there is no HAProxy here.
    """
    program = find()
    if program is None:
        raise SystemExit("there is no haproxy here: scripts/tools gets it")
    # A short path, for the sockets in it.
    with tempfile.TemporaryDirectory(prefix="haproxy") as made:
        folder = Path(made)
        keeper.keep_folder(folder)
        proxy = Proxy(program, folder, configure(folder))
        try:
            yield proxy
        finally:
            proxy.stop()
