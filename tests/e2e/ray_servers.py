"""`scripts/serve --engine ray` for the end-to-end tests, with two versions, and what its processes are."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from babelclip import Client
from babelclip.keys.entries import SCOPES
from babelclip.keys.file import add
from babelclip.versions.gateway import GatewayVersions
from tests.e2e.support import PATIENCE, Launcher, launched


@dataclass(frozen=True)
class RayServer:
    """A gateway before Ray Serve, and a key with which everything is allowed."""

    facts: dict[str, Any]
    key: str
    launcher: Launcher

    def client(self, transport: str, **settings: Any) -> Client:
        """A client by "http" or "grpc"."""
        return Client(self.facts[transport], token=self.key, **settings)

    def versions(self) -> GatewayVersions:
        """An operator's calls."""
        return GatewayVersions(self.facts["http"], self.key)

    def manage(self, *words: str) -> tuple[int, str]:
        """What an operator does to the cluster of the running server."""
        engine, store = self.facts["engine"], Path(self.facts["store"])
        address = engine["engine"].removeprefix("ray:").partition("#")[0]
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": engine["token_file"]}
        where = ("--store", str(store), "--address", address, "--run-dir", str(store.parent / "once"))
        return python("-P", "-m", "babelclip.ray_serve", *where, *words, **token)

    def replicas(self, tower: str, version: str = "1.0") -> list[psutil.Process]:
        """The processes of a tower."""
        title = f"ServeReplica:babelclip-{version}:{tower}"
        return [one for one in self.launcher.family() if title in _title(one)]

    def replica(self, tower: str) -> psutil.Process:
        """The one process of a tower; its title changes with each call, and is nothing for a moment."""
        give_up = time.monotonic() + PATIENCE
        while len(found := self.replicas(tower)) != 1:
            assert time.monotonic() < give_up, found
            time.sleep(0.01)
        return found[0]

    def listeners(self) -> set[str]:
        """The addresses at which processes of the start listen."""
        found = set()
        for process in [psutil.Process(self.launcher.process.pid), *self.launcher.family()]:
            try:
                connections = process.net_connections("inet")
            except psutil.NoSuchProcess:
                continue
            found |= {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
        return found


@contextmanager
def ray_served(store: Path, run: Path, *arguments: str | Path) -> Iterator[RayServer]:
    """scripts/serve.py --engine ray on free ports; it is stopped at the end."""
    key = add(run / "gateway" / "keys.json", "test", scopes=SCOPES)
    words = ("--engine", "ray", "--store", store, "--run-dir", run, "--ports", "auto", *arguments)
    with launched(*words, script="serve.py") as launcher:
        yield RayServer(launcher.wait_facts(), key, launcher)


def python(*words: str, **environment: str) -> tuple[int, str]:
    """A Python program with these variables: its exit status, and what it printed."""
    surroundings = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **environment}
    command = [sys.executable, *words]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""
