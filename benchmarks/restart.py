"""A client's long call while its server is killed and started again.

    python -m benchmarks.restart [--items 5000] [--quick]

The committed model is served. Over HTTP and over gRPC, a client embeds half of the items as texts and half as
drawings. In the middle of each half, all processes of the server are killed (SIGKILL) and scripts/server.py
starts it again, with new tokens. Each vector is compared with the one that the same item had before.

    lost     items without a vector
    wrong    items whose vector has a cosine below 0.9999 with the one it had before
"""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from babelclip import Backoff, Client, Embeddings, concatenate
from babelclip.wire import smallest_message
from benchmarks.support import inputs, report, towers
from benchmarks.support.options import make_parser, parse
from benchmarks.support.towers import REPOSITORY

SAMPLES = REPOSITORY / "training" / "recipes" / "mini" / "samples"
SAME = 0.9999
PATIENCE = 300.0  # seconds that a message waits for the server to come back


class Restartable:
    """scripts/server.py on the same ports each time."""

    def __init__(self, store: Path, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.ports: list[str] = ["--ports", "auto"]
        self.facts: dict[str, Any] = {}
        self.start()
        self.ports = []
        for name in ("inference", "management", "metrics"):
            self.ports += [f"--{name}-port", self._port("http" if name == "inference" else name)]
        for name in ("grpc", "management_grpc"):
            listener = "grpc-inference" if name == "grpc" else "grpc-management"
            self.ports += [f"--{listener}-port", self._port(name)]

    def _port(self, name: str) -> str:
        return str(self.facts[name].removesuffix("/metrics").rpartition(":")[2])

    def start(self) -> None:
        """Start it and wait until it is ready."""
        command = [sys.executable, "scripts/server.py", "--store", str(self.store), *self.ports]
        command += ["--run-dir", str(self.folder)]
        self.process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("ready: "):
                self.facts = json.loads(line.removeprefix("ready: "))
                return
        raise SystemExit("the server ended instead of becoming ready")

    def kill(self) -> None:
        """Everything at once, the launcher first, so that nothing can be put in order."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        for one in family:
            one.kill()
        psutil.wait_procs(family)
        self._ended()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self._ended()

    def _ended(self) -> None:
        with self.process:  # Waits for it, and closes its output.
            pass


def killed_midway(server: Restartable, parts: Iterator[Embeddings], items: int) -> tuple[Embeddings, float]:
    """The whole of a stream in whose middle the server was killed, and the seconds it was away."""
    found = [next(parts)]
    while sum(map(len, found)) < items // 3:
        found.append(next(parts))
    began = time.monotonic()
    server.kill()
    starting = threading.Thread(target=server.start)
    starting.start()
    found += parts
    starting.join()
    away = time.monotonic() - began
    return concatenate(found), away


def compared(found: Embeddings, before: NDArray[np.float32], count: int) -> tuple[int, int]:
    """(lost, wrong)."""
    lost = count - int(found.ok.sum())
    cosines = (found.vectors * before).sum(1)
    return lost, int((cosines[found.ok] < SAME).sum())


def one_transport(server: Restartable, transport: str, halves: Mapping[str, Sequence[Any]]) -> Any:
    """Texts, images or both, by their tower, over one transport."""

    def client() -> Client:
        return Client(
            server.facts[transport],
            token_file=server.facts["token_file"],
            timeout=PATIENCE,
            backoff=Backoff(attempts=10_000, cap=1.0),
            max_message_bytes=smallest_message(),
        )

    with client() as asked:
        embed: dict[str, Any] = {"text": asked.embed_texts, "vision": asked.embed_images}
        before = [embed[tower](items).vectors for tower, items in halves.items()]
    with client() as asked:
        stream: dict[str, Any] = {"text": asked.stream_texts, "vision": asked.stream_images}
        parts = [killed_midway(server, stream[tower](items), len(items)) for tower, items in halves.items()]
    counts = [compared(found, known, len(known)) for (found, _), known in zip(parts, before, strict=True)]
    return {
        "items": sum(map(len, halves.values())),
        "lost": sum(lost for lost, _ in counts),
        "wrong": sum(wrong for _, wrong in counts),
        "seconds_away": [round(away, 1) for _, away in parts],
    }


def main() -> None:
    parser = make_parser("restart", __doc__)
    parser.add_argument("--items", type=int, default=5000, help="over each transport (default: 5000)")
    options = parse(parser, {"items": 120})
    half = options.items // 2
    known = inputs.texts()
    texts = [f"{known[i % len(known)]} {i}" for i in range(half)]
    drawings = [path.read_bytes() for path in sorted(SAMPLES.glob("*.png"))]
    images = list(itertools.islice(itertools.cycle(drawings), options.items - half))
    over = {"http": ["text", "vision"], "grpc": ["text", "vision"]}
    if options.quick:
        # A start of the server takes longer than all else.
        over = {"http": ["text"], "grpc": ["vision"]}
    halves: dict[str, Sequence[Any]] = {"text": texts, "vision": images}
    # A folder's path must be short enough for the sockets in it.
    folder = towers.FOLDER / "restart"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    server = Restartable(towers.mini_store(), folder)
    try:
        found = {
            name: one_transport(server, name, {tower: halves[tower] for tower in towers_of})
            for name, towers_of in over.items()
        }
    finally:
        server.stop()
    rows = [(name, *figures.values()) for name, figures in found.items()]
    report.table("the server killed under a client", ("transport", "items", "lost", "wrong", "s away"), rows)
    result = {key: sum(one[key] for one in found.values()) for key in ("items", "lost", "wrong")}
    report.finish("restart", result, {"transports": found})


if __name__ == "__main__":
    main()
