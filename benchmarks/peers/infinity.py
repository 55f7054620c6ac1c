"""Infinity, with the measured towers: its own environment, its form of the models, its HTTP call."""

import base64
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.other_servers import free_port, process
from benchmarks.support import load, towers

VERSION = "0.0.78"
DTYPES = ("float32", "bfloat16")
BATCH = 32
# What pip chose for Infinity 0.0.78 when this was written, and what it needs for images and does not ask for.
PINS = (
    "torch==2.8.0",
    "torchvision==0.23.0",
    "transformers==4.57.6",
    "sentence-transformers==3.4.1",
    "aiohttp",
)


def environment() -> Path:
    return towers.FOLDER / "infinity"


def install(made: towers.Towers) -> None:
    """Infinity's environment and its form of the models, once."""
    python = environment() / "bin" / "python"
    if not (environment() / "installed").exists():
        print(f"peers: installing Infinity {VERSION}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment())], check=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, f"infinity-emb[server,torch,vision]=={VERSION}", *PINS], check=True)
        (environment() / "installed").touch()
    if not (environment() / "models" / "text").exists():
        script = Path(__file__).with_name("infinity_models.py")
        command = [str(python), str(script), str(made.checkpoint), str(environment() / "models")]
        subprocess.run(command, check=True)


@contextlib.contextmanager
def serving(dtype: str) -> Iterator[str]:
    """Infinity with both models in one dtype; yields its address."""
    port = free_port()
    models = environment() / "models"
    command = [str(environment() / "bin" / "infinity_emb"), "v2", "--port", str(port), "--host", "127.0.0.1"]
    for kind in ("image", "text"):
        command += ["--model-id", str(models / kind), "--served-model-name", kind, "--engine", "torch"]
        command += ["--device", "cpu", "--dtype", dtype, "--batch-size", str(BATCH), "--no-bettertransformer"]
    url = f"http://127.0.0.1:{port}"
    settings = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    with process(command, f"{url}/health", towers.FOLDER / f"infinity-{dtype}.log", **settings):
        yield url


def body(model: str, items: Sequence[Any]) -> load.Body:
    """Infinity's embeddings call; vectors come back in base64, the cheapest it has."""
    written = [
        item if isinstance(item, str) else "data:image/jpeg;base64," + base64.b64encode(item).decode()
        for item in items
    ]
    call = {"model": model, "modality": model, "input": written, "encoding_format": "base64"}
    return load.Body(json.dumps(call).encode(), "application/json", len(items))


def rows(answer: Any) -> list[Any]:
    return [np.frombuffer(base64.b64decode(row["embedding"]), dtype="<f4") for row in answer["data"]]
