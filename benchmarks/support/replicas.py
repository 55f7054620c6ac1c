"""Server instances as pods are: started, killed, hung, spoiled and stopped, each as a whole.

`Served` is the real thing, scripts/serve with TorchServe; `Sleeping` is that of benchmarks.support.sleeping.
Both are the gateway of this repository on ports that a replica keeps when it is started again.
"""

import json
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import onnx
import psutil

from benchmarks.support import keeper
from benchmarks.support.towers import REPOSITORY
from deploy.haproxy.endpoints import Endpoint

PATIENCE = 900.0  # seconds for a start or an end
START_NICE = 15  # the priority with which a modest replica starts
POLL = 0.1
_READY = "ready: "


class ReplicaError(RuntimeError):
    """A replica did not start or stop as it should."""


class Replica(ABC):
    """One instance.

    Args:
        name: of the replica, as of a pod.
        folder: its own, for logs and what it writes.
        keys_file: the callers' keys, the same for every replica.

    Attributes:
        facts: what it said when it was ready.
    """

    def __init__(self, name: str, folder: Path, keys_file: Path) -> None:
        self.name = name
        self.folder = folder
        self.keys_file = keys_file
        self.facts: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def command(self, ports: dict[str, int]) -> list[str]:
        """What starts it; `ports` are those of before by listener, none at the first start."""

    @abstractmethod
    def spoil(self) -> None:
        """Have it give wrong vectors from now on."""

    @property
    def environment(self) -> dict[str, str]:
        """That of its processes."""
        return dict(os.environ)

    @property
    def endpoint(self) -> Endpoint:
        """Where the proxy finds it."""
        ports = self._ports()
        return Endpoint(self.name, "127.0.0.1", ports["http"], ports["grpc"])

    def start(self, *, modest: bool = False) -> None:
        """Start it, and wait until it says that it is ready.

        Args:
            modest: until it is ready, after all others for the cores: on a machine of its own its start would
                take none from them.

        Raises:
            ReplicaError: it ended instead.
        """
        log = self.folder / "replica.log"
        seen = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command(self._ports() if self.facts else {}),
                cwd=REPOSITORY,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self.environment,
                start_new_session=True,
            )
        keeper.keep_process(self._process.pid)
        if modest:
            os.setpriority(os.PRIO_PROCESS, self._process.pid, START_NICE)
        give_up = time.monotonic() + PATIENCE
        while (line := _last_line(log, seen, _READY)) is None:
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise ReplicaError(f"{self.name} did not become ready:\n{_tail(log)}")
            time.sleep(POLL)
        self.facts = json.loads(line.removeprefix(_READY))
        if modest:
            self._as_others()

    def proved(self) -> tuple[str, str]:
        """Its version and space, once both towers give their golden items.

        Raises:
            ReplicaError: they do not.
        """
        give_up = time.monotonic() + PATIENCE
        with httpx.Client(base_url=self.facts["http"], trust_env=False, timeout=30.0) as client:
            while (answer := client.get("/readyz")).status_code != 200:
                if time.monotonic() > give_up:
                    raise ReplicaError(f"{self.name} is not ready: {answer.text}")
                time.sleep(POLL)
        (model,) = answer.json()["models"].values()
        return model["version"], model["space"]

    def kill(self) -> None:
        """End all of it at once, as a machine that is switched off."""
        family = self.family()
        for one in family:
            _signal(one, signal.SIGKILL)
        psutil.wait_procs(family)
        self._running().wait(timeout=PATIENCE)

    def hang(self) -> None:
        """Stop all of it where it is: connections stay, and nothing is answered."""
        for one in self.family():
            _signal(one, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `hang`."""
        for one in self.family():
            _signal(one, signal.SIGCONT)

    def stop(self) -> None:
        """SIGTERM: it answers what is under way, and ends.

        Raises:
            ReplicaError: it ended with another status than 0.
        """
        process = self._running()
        process.terminate()
        if status := process.wait(timeout=PATIENCE):
            raise ReplicaError(
                f"{self.name} ended with status {status}:\n{_tail(self.folder / 'replica.log')}"
            )

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def family(self) -> list[psutil.Process]:
        """Its processes."""
        first = psutil.Process(self._running().pid)
        return [first, *first.children(recursive=True)]

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    def _ports(self) -> dict[str, int]:
        return {name: int(self.facts[name].rpartition(":")[2]) for name in ("http", "grpc")}

    def _as_others(self) -> None:
        for one in self.family():
            for thread in Path(f"/proc/{one.pid}/task").iterdir():
                try:
                    os.setpriority(os.PRIO_PROCESS, int(thread.name), os.getpriority(os.PRIO_PROCESS, 0))
                except ProcessLookupError:
                    continue  # It has ended.
                except PermissionError:
                    return  # Nobody but root may; it serves with the cores that it gets.


class Served(Replica):
    """scripts/serve: the gateway, TorchServe, and the archives of a store."""

    def __init__(self, name: str, folder: Path, keys_file: Path, store: Path, model: str) -> None:
        super().__init__(name, folder, keys_file)
        self._store = store
        self._model = model

    @property
    def environment(self) -> dict[str, str]:
        settings = {
            "keys_file": self.keys_file,
            "versions_file": self.folder / "versions.json",
            "log_requests": "false",
            "probe_seconds": 1,
        }
        named = {f"BABELCLIP_GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}
        # One way of computing in all replicas, whichever of them a vector comes from.
        return {**super().environment, **named, "BABELCLIP_RUNTIME": "onnxruntime"}

    def command(self, ports: dict[str, int]) -> list[str]:
        words = [
            sys.executable,
            "scripts/serve.py",
            "--store",
            str(self._store),
            "--run-dir",
            str(self.folder),
        ]
        words += ["--ports", "auto", "--workers", "1", "--model-name", self._model]
        if ports:
            words += ["--gateway-port", str(ports["http"]), "--gateway-grpc-port", str(ports["grpc"])]
        return words

    def spoil(self) -> None:
        """Embeddings of other tokens in the place of each, in the file from which the text tower maps them.

        What a runtime has copied stays right, so that of the vision tower nothing changes.

        Raises:
            ReplicaError: no worker has mapped such a file.
        """
        found = {path for one in self.family() for path in _mapped(one) if path.name == "program.onnx.data"}
        if not found:
            raise ReplicaError(f"{self.name}: no worker has mapped its weights")
        for path in found:
            with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
                start, rows, width = _largest_table(path.with_name("program.onnx"))
                middle, end = start + rows // 2 * width, start + rows * width
                content[start:end] = content[middle:end] + content[start:middle]


class Sleeping(Replica):
    """The gateway before an engine that sleeps."""

    def __init__(self, name: str, folder: Path, keys_file: Path, version: str, seconds: float) -> None:
        super().__init__(name, folder, keys_file)
        self._version = version
        self._seconds = seconds

    def command(self, ports: dict[str, int]) -> list[str]:
        words = [sys.executable, "-m", "benchmarks.support.sleeping", "--keys-file", str(self.keys_file)]
        words += ["--version", self._version, "--seconds", str(self._seconds)]
        if ports:
            words += ["--port", str(ports["http"]), "--grpc-port", str(ports["grpc"])]
        return words

    def spoil(self) -> None:
        """As its module has it."""
        self._running().send_signal(signal.SIGUSR1)


def start_all(replicas: list[Replica]) -> None:
    """Start several side by side.

    Raises:
        ReplicaError: one of them did not become ready.
    """
    failed: list[ReplicaError] = []

    def start(replica: Replica) -> None:
        try:
            replica.start()
        except ReplicaError as error:
            failed.append(error)

    threads = [threading.Thread(target=start, args=(replica,)) for replica in replicas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def _largest_table(program: Path) -> tuple[int, int, int]:
    """Of the largest weights beside a program: where they begin, how many rows, and bytes of each."""
    weights = onnx.load(str(program), load_external_data=False).graph.initializer
    beside = [(one, {entry.key: entry.value for entry in one.external_data}) for one in weights]
    largest, facts = max(beside, key=lambda found: int(found[1].get("length", 0)))
    return int(facts.get("offset", 0)), largest.dims[0], int(facts["length"]) // largest.dims[0]


def _mapped(process: psutil.Process) -> Iterator[Path]:
    try:
        maps = Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith("/"):
            yield Path(fields[5])


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _last_line(log: Path, seen: int, prefix: str) -> str | None:
    """The whole line that begins so, of what came into the log after `seen` bytes."""
    with log.open("rb") as file:
        file.seek(seen)
        *lines, _ = file.read().decode("utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.startswith(prefix)), None)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
