"""The server that is measured: scripts/server.py in a process of its own."""

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.support import towers
from benchmarks.support.load import GrpcSender, HttpSender, Sender
from benchmarks.support.towers import REPOSITORY


@dataclass(frozen=True)
class Server:
    http: str
    grpc: str
    key: str
    pid: int
    management: str
    management_grpc: str
    management_key: str
    metrics: str
    token_file: Path

    def sender(self, transport: str, model: str) -> Sender:
        """A sender over "http" or "grpc"; made within a running event loop."""
        if transport == "grpc":
            return GrpcSender(self.grpc, model, self.key)
        return HttpSender(self.http, model, self.key)

    def worker(self, model: str) -> psutil.Process:
        """The one worker of a model."""
        headers = {"authorization": f"Bearer {self.management_key}"}
        (described,) = httpx.get(f"{self.management}/models/{model}", headers=headers, timeout=60.0).json()
        (worker,) = described["workers"]
        return psutil.Process(worker["pid"])

    def workers(self) -> list[psutil.Process]:
        """TorchServe's worker processes."""
        family = psutil.Process(self.pid).children(recursive=True)
        return [one for one in family if "model_service_worker.py" in " ".join(one.cmdline())]

    def frontend(self) -> psutil.Process:
        """The Java process."""
        family = psutil.Process(self.pid).children(recursive=True)
        return next(one for one in family if one.name() == "java")

    def gauge(self, name: str) -> dict[str, float]:
        """The latest value of one of our gauges, by tower."""
        found = {}
        for line in httpx.get(self.metrics, timeout=60.0).text.splitlines():
            if line.startswith(f"{name}{{") and (tower := re.search('tower="([^"]*)"', line)):
                found[tower[1]] = float(line.rpartition(" ")[2])
        return found

    def cpu_seconds(self) -> float:
        """What all its processes have used so far."""
        family = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]
        return sum(one.cpu_times().user + one.cpu_times().system for one in family)


@contextlib.contextmanager
def serving(store: Path, name: str = "server") -> Iterator[Server]:
    """A ready server for the archives of `store` on free ports; it is stopped at the end.

    Two at a time have different names.
    """
    command = [sys.executable, "scripts/server.py", "--store", str(store), "--ports", "auto"]
    command += ["--run-dir", str(towers.FOLDER / name)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("ready: "):
                    break
                print(line.rstrip(), flush=True)
            else:
                raise SystemExit("the server ended instead of becoming ready")
            facts = json.loads(line.removeprefix("ready: "))
            keys = json.loads(Path(facts["token_file"]).read_text(encoding="utf-8"))
            yield Server(
                http=facts["http"],
                grpc=facts["grpc"],
                key=keys["inference"]["key"],
                pid=facts["pid"],
                management=facts["management"],
                management_grpc=facts["management_grpc"],
                management_key=keys["management"]["key"],
                metrics=facts["metrics"],
                token_file=Path(facts["token_file"]),
            )
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)
