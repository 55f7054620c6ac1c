"""Ray Serve that is measured: `python -m babelclip.ray_serve` in a process of its own."""

import contextlib
import copy
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import psutil

from babelclip.model_store.archives import archives
from babelclip.model_store.manifest import read_manifest
from babelclip.model_store.served import ServedStore
from babelclip.ray_serve.cluster import token_environment
from benchmarks.support import towers
from benchmarks.support.towers import REPOSITORY


@dataclass(frozen=True)
class RayServer:
    """A cluster with a store's versions. What joins it gets the token from the environment.

    Attributes:
        grpc: the engine's address, where a TorchServe has that of its gRPC.
        token_file: none, where a TorchServe has its keys.
    """

    grpc: str
    pid: int
    token_file: str = ""


@contextlib.contextmanager
def serving_ray(store: Path, name: str = "ray") -> Iterator[RayServer]:
    """A ready cluster for the archives of `store`; it is stopped at the end.

    While it runs, the environment of this process, and so of a gateway that it starts, has the token.
    """
    command = [sys.executable, "-P", "-m", "babelclip.ray_serve", "--store", str(store)]
    command += ["--run-dir", str(towers.FOLDER / name)]
    surroundings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, env=surroundings
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("ready: "):
                    break
                print(line.rstrip(), flush=True)
            else:
                raise SystemExit("Ray Serve ended instead of becoming ready")
            facts = json.loads(line.removeprefix("ready: "))
            joining = {**token_environment(Path(facts["token_file"])), "RAY_USAGE_STATS_ENABLED": "0"}
            with mock.patch.dict(os.environ, joining):
                yield RayServer(facts["engine"], facts["pid"])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)


def add_version(store: Path, other: Path) -> None:
    """Enters the default version of another store, with its archives, beside the versions of this one."""
    manifest = read_manifest(other)
    served = ServedStore(store)
    document = next(entry for entry in manifest.document["spaces"] if entry["default"])
    entered = {**copy.deepcopy(document), "default": False}
    with served.held():
        for tower, archive in archives(other, manifest.default).items():
            entered[tower]["mar"] = f"{manifest.default.version}-{archive.path.name}"
            served.bring(archive, entered[tower]["mar"])
        served.enter(entered)


def memory_mb(pid: int) -> float:
    """What a process and all below it have in memory, in MB; what several share counts once, in shares."""
    total = 0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total / 1e6
