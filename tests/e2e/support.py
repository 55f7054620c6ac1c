"""A real server for the tests: started as an operator starts it, called the ways a caller can call it."""

import contextlib
import hashlib
import json
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil

from babelclip.embedding_pb2 import EmbedRequest, EmbedResponse
from babelclip.transports.torchserve import InferenceStub, bearer
from babelclip.transports.torchserve_pb2 import PredictionsRequest
from tests.places import REPOSITORY

PROTOBUF = "application/x-protobuf"

# How long a test waits for what must happen; only a failure ever waits so long.
PATIENCE = 900.0


@dataclass(frozen=True)
class Server:
    """What scripts/server.py says of itself when it is ready."""

    http: str
    grpc: str
    management: str
    management_grpc: str
    metrics: str
    queue_metrics: str | None
    token_file: Path
    space: str
    version: str
    pid: int

    def key(self, kind: str) -> str:
        """One of TorchServe's keys: inference, management or API."""
        return str(json.loads(self.token_file.read_text())[kind]["key"])

    def url(self, transport: str) -> str:
        """The address for babelclip.Client."""
        return {"http": self.http, "grpc": self.grpc}[transport]

    def worker_pids(self) -> dict[str, list[int]]:
        """The process ids of the workers by model; one that changes means that a worker died."""
        with management(self) as client:
            described = {model: client.get(f"/models/{model}").json()[0] for model in ("text", "vision")}
        return {model: [worker["pid"] for worker in facts["workers"]] for model, facts in described.items()}

    def counted(self, name: str, **labels: str) -> float:
        """The sum of a Prometheus metric over the series that have these labels."""
        return summed(httpx.get(self.metrics).text, name, **labels)

    def queue(self, name: str, **labels: str) -> float:
        """The same, of the metrics about the queues."""
        assert self.queue_metrics is not None
        return summed(httpx.get(self.queue_metrics).text, name, **labels)


def summed(exposition: str, name: str, **labels: str) -> float:
    """The sum of a Prometheus metric over the series that have these labels."""
    total = 0.0
    for line in exposition.splitlines():
        found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if found and found[1] == name:
            series = dict(re.findall(r'(\w+)="([^"]*)"', found[2] or ""))
            if labels.items() <= series.items():
                total += float(found[3])
    return total


def management(server: Server) -> httpx.Client:
    """TorchServe's management address, with the management key."""
    headers = {"authorization": f"Bearer {server.key('management')}"}
    return httpx.Client(base_url=server.management, headers=headers, timeout=60.0)


def post(server: Server, model: str, body: bytes, content_type: str, **headers: str) -> httpx.Response:
    """One HTTP request as any program could send it."""
    sent = {"authorization": f"Bearer {server.key('inference')}", "content-type": content_type, **headers}
    return httpx.post(f"{server.http}/predictions/{model}", content=body, headers=sent, timeout=60.0)


def predict(server: Server, model: str, **entries: bytes) -> EmbedResponse:
    """One gRPC call with these entries in the input map."""
    with grpc.insecure_channel(server.grpc.removeprefix("grpc://")) as channel:
        answer = InferenceStub(channel).Predictions(
            PredictionsRequest(model_name=model, input=entries),
            metadata=bearer(server.key("inference")),
            timeout=60.0,
        )
    return EmbedResponse.FromString(answer.prediction)


def embed(server: Server, transport: str, model: str, request: EmbedRequest) -> EmbedResponse:
    """One request in the wire format, over "http" or "grpc"."""
    if transport == "grpc":
        return predict(server, model, request=request.SerializeToString())
    response = post(server, model, request.SerializeToString(), PROTOBUF)
    assert response.headers["content-type"] == PROTOBUF, response.text
    return EmbedResponse.FromString(response.content)


class Launcher:
    """scripts/server.py, or another script, as a process, and the lines it has printed."""

    def __init__(
        self, *arguments: str | Path, checkout: Path = REPOSITORY, script: str = "server.py"
    ) -> None:
        command = [sys.executable, str(checkout / "scripts" / script), *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.lines: list[str] = []
        self._arriving: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self._arriving.put(line.rstrip("\n"))
        self._arriving.put(None)

    def wait_ready(self) -> Server:
        """Wait for the line `ready:` of scripts/server.py and return what it says."""
        facts = self.wait_facts()
        return Server(**{**facts, "token_file": Path(facts["token_file"])})

    def wait_facts(self) -> dict[str, Any]:
        """Wait for the line `ready:` and return what it says."""
        give_up = time.monotonic() + PATIENCE
        while (line := self._arriving.get(timeout=max(0.0, give_up - time.monotonic()))) is not None:
            self.lines.append(line)
            if line.startswith("ready: "):
                facts: dict[str, Any] = json.loads(line.removeprefix("ready: "))
                return facts
        raise AssertionError("the server ended instead of becoming ready:\n" + "\n".join(self.lines))

    def wait_ended(self) -> tuple[int, str]:
        """Wait for the end; return the exit status and everything printed."""
        status = self.process.wait(PATIENCE)
        while (line := self._arriving.get(timeout=PATIENCE)) is not None:
            self.lines.append(line)
        return status, "\n".join(self.lines)

    def family(self) -> list[psutil.Process]:
        """The server's processes at this moment: TorchServe's launcher, Java, the workers."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self) -> None:
        """End it if it has not ended."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)


@contextlib.contextmanager
def launched(
    *arguments: str | Path, checkout: Path = REPOSITORY, script: str = "server.py"
) -> Iterator[Launcher]:
    """Run a script of a checkout with these arguments; it is stopped at the end."""
    launcher = Launcher(*arguments, checkout=checkout, script=script)
    try:
        yield launcher
    finally:
        launcher.stop()


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run."""
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def check_stop(launcher: Launcher, server: Server, asked: signal.Signals, *, workers: int = 1) -> None:
    """The signal ends Java and the `workers` of each tower, with 0, and nothing of them is left."""
    family = launcher.family()
    pids = {pid for of_tower in server.worker_pids().values() for pid in of_tower}
    assert len(pids) == 2 * workers
    assert pids < {process.pid for process in family}
    assert server.token_file.stat().st_mode & 0o777 == 0o600
    launcher.process.send_signal(asked)
    status, printed = launcher.wait_ended()
    assert status == 0, printed
    assert not alive(family)
    assert not server.token_file.exists()
    assert not (server.token_file.parent / "tmp").exists()


def with_changed_text_tower(
    store: Path, target: Path, change: Callable[[str, bytes], bytes]
) -> dict[str, Any]:
    """Copy a model store; every file of its text archive becomes `change(name, content)`.

    Returns the copy's manifest, whose checksum is that of the changed archive.
    """
    shutil.copytree(store, target)
    manifest: dict[str, Any] = json.loads((target / "manifest.json").read_text())
    tower = manifest["spaces"][0]["text"]
    archive = target / tower["mar"]
    with zipfile.ZipFile(store / tower["mar"]) as before, zipfile.ZipFile(archive, "w") as after:
        for name in before.namelist():
            after.writestr(name, change(name, before.read(name)))
    tower["sha256"] = hashlib.sha256(archive.read_bytes()).hexdigest()
    (target / "manifest.json").write_text(json.dumps(manifest))
    return manifest
