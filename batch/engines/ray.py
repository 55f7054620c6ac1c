"""Actors of a Ray cluster, each with a tower of its own.

What travels is a shard's description to an actor, and counts back: bytes are read, decoded and embedded
inside the one actor, and its output is written from there. So nothing of the images is in the object store.
The driver hands out shards as it does to processes; Ray places actors, by cores, cards or other resources,
and tells when one is lost.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from babelclip.errors import BabelclipError
from batch.engines.base import EngineError, Event, Failed, Finished, Lost, Started
from batch.engines.head import Head
from batch.shards import Counts, Shard, ShardError
from batch.worker import OutputFull, Task, Worker, WorkerLost, sentence

_SECONDS = 1.0  # that `events` waits
LOOPBACK = "127.0.0.1"


class ShardActor:
    """A worker of a shard at a time. What goes wrong is said in a dict: Ray wraps exceptions."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._worker: Worker | None = None

    def load(self) -> dict[str, Any]:
        """Load the tower."""
        try:
            self._worker = Worker(self._task)
        except (BabelclipError, OSError, ImportError, ValueError) as error:
            return {"broken": sentence(error)}
        return {}

    def run(self, shard: Shard) -> dict[str, Any]:
        """Embed a shard; its counts, or what went wrong."""
        assert self._worker is not None
        try:
            counts = self._worker.run(shard, lambda _: None)
        except ShardError as error:
            return {"failed": sentence(error)}
        except WorkerLost as error:
            return {"lost": sentence(error)}
        except OutputFull as error:
            return {"broken": sentence(error)}
        return {"items": counts.items, "errors": counts.failed}


@dataclass
class _Actor:
    handle: Any
    call: Any
    """The call that is under way, a reference; None while it waits for a shard."""
    started: bool = False
    shard: Shard | None = None


class RayWorkers:
    """See `batch.engines.base.Workers`.

    Args:
        address: of a cluster; None starts one on this machine, which listens on loopback alone and ends with
            the job.
        actors: how many; None for as many as the cluster has room for now.
        cpus, gpus, resources: of an actor; a core for each of the job's threads unless told otherwise.

    Raises:
        EngineError: Ray is not installed, there is no such cluster, or it has no room for an actor.
    """

    def __init__(
        self,
        task: Task,
        *,
        address: str | None = None,
        actors: int | None = None,
        cpus: float | None = None,
        gpus: float = 0.0,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._held = ExitStack()
        if not _is_connected():  # Else the cluster is the caller's.
            if address is None or address.startswith("127."):
                # On Linux Ray takes loopback for the address that other machines know, and listens there.
                # Where clusters of several machines are not to be, loopback stays loopback. Read when Ray is
                # imported.
                self._set("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
            if address is None:
                self._ask_for_token()
        try:
            import ray
        except ImportError as error:
            raise EngineError("--engine ray needs Ray: install the dependency group ray") from error
        self._ray: Any = ray
        self._task = task
        self._address = address
        self._wanted = actors
        self._needs: dict[str, float] = {
            "CPU": task.job.threads if cpus is None else cpus,
            "GPU": gpus,
            **(resources or {}),
        }
        self._owned = False
        self._head: Head | None = None
        self._actors: dict[int, _Actor] = {}
        self._next = 0

    def __enter__(self) -> RayWorkers:
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _begin(self) -> None:
        self._connect()
        self._head = Head(self._address or "hand", self._ray.nodes)
        options: dict[str, Any] = {
            "num_cpus": self._needs["CPU"],
            "num_gpus": self._needs["GPU"],
            "resources": {name: n for name, n in self._needs.items() if name not in ("CPU", "GPU")},
            "max_restarts": 0,  # A lost one is replaced here: its shard counts as tried.
            "max_concurrency": 1,
            "scheduling_strategy": "SPREAD",  # Each node has its own disk, network and memory to read with.
            "runtime_env": {"env_vars": _environment()},
        }
        self._class = self._ray.remote(**options)(ShardActor)
        for _ in range(self._wanted or self._room()):
            self._start()

    def __exit__(self, *raised: object) -> None:
        if self._head is not None:
            self._head.close()
        if self._head is None or not self._head.gone:  # Who would have to be told is the head.
            for one in self._actors.values():
                self._ray.kill(one.handle)
        self._actors.clear()
        if self._owned:
            self._ray.shutdown()
        self._held.close()

    @property
    def idle(self) -> Sequence[int]:
        return [number for number, one in self._actors.items() if one.call is None]

    @property
    def busy(self) -> Collection[int]:
        return [number for number, one in self._actors.items() if one.shard is not None]

    def submit(self, worker: int, shard: Shard) -> None:
        one = self._actors[worker]
        one.shard, one.call = shard, one.handle.run.remote(shard)

    def events(self) -> Sequence[Event]:
        calls = {one.call: number for number, one in self._actors.items() if one.call is not None}
        if not calls:
            return []
        if self._head is not None:
            self._head.check()
        ready, _ = self._ray.wait(list(calls), num_returns=1, timeout=_SECONDS)
        return [event for call in ready for event in self._heard(calls[call])]

    def _heard(self, number: int) -> list[Event]:
        one = self._actors[number]
        try:
            said: dict[str, Any] = self._ray.get(one.call)
        except self._ray.exceptions.RayError as error:  # Its process or its node is gone, or a bug in it.
            return self._replace(number, sentence(error)[:500])
        one.call = None
        if "broken" in said:
            raise EngineError(said["broken"])
        if not one.started:
            one.started = True
            return [Started(number)]
        shard = one.shard
        assert shard is not None
        if "lost" in said:
            self._ray.kill(one.handle)
            return self._replace(number, said["lost"])
        one.shard = None
        if "failed" in said:
            return [Failed(number, shard, said["failed"])]
        return [Finished(number, shard, Counts(said["items"], said["errors"]))]

    def _replace(self, number: int, reason: str) -> list[Event]:
        one = self._actors.pop(number)
        self._start()
        if one.shard is None:
            return [Lost(number, reason)]
        return [Failed(number, one.shard, reason, lost=True)]

    def _start(self) -> None:
        handle = self._class.remote(self._task)
        self._actors[self._next] = _Actor(handle, handle.load.remote())
        self._next += 1

    def _connect(self) -> None:
        if self._ray.is_initialized():
            return
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
        try:
            if self._address is not None:
                host = self._address.rpartition(":")[0]
                if host.startswith("127."):  # Where it looks for a node to join by.
                    quiet["_node_ip_address"] = host
                self._ray.init(address=self._address, **quiet)
            else:
                self._ray.init(address="local", include_dashboard=False, _node_ip_address=LOOPBACK, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise EngineError(
                f"there is no Ray cluster at {self._address or 'hand'}: {sentence(error)}"
            ) from error
        self._owned = True

    def _ask_for_token(self) -> None:
        """Have the cluster of this machine take no calls but ours: whoever reaches it could run programs.

        Before Ray is imported, which reads the variables.
        """
        folder = Path(self._held.enter_context(tempfile.TemporaryDirectory(prefix="babelclip-")))
        token = folder / "token"  # The folder is its owner's alone.
        token.write_text(secrets.token_hex(32), encoding="utf-8")
        self._set("RAY_AUTH_MODE", "token")
        self._set("RAY_AUTH_TOKEN_PATH", str(token))

    def _set(self, name: str, value: str) -> None:
        """A variable for Ray and its processes, until the job has ended."""
        self._held.callback(_restore, name, os.environ.get(name))
        os.environ[name] = value

    def _room(self) -> int:
        has = self._ray.cluster_resources()
        counts = [int(has.get(name, 0) // needed) for name, needed in self._needs.items() if needed > 0]
        if not counts or min(counts) < 1:
            said = json.dumps({name: needed for name, needed in self._needs.items() if needed > 0})
            raise EngineError(f"the cluster has no room for an actor, which takes {said}")
        return min(counts)


def _is_connected() -> bool:
    ray: Any = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _environment() -> dict[str, str]:
    """Where an actor finds this package: where the driver does, apart from Python's own folders."""
    own = (os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix))
    folders = (os.path.realpath(one or os.curdir) for one in sys.path if os.path.isdir(one or os.curdir))
    kept = [one for one in folders if not one.startswith(own)]
    return {
        "PYTHONPATH": os.pathsep.join(kept),
        "BABELCLIP_STATE_DIR": os.environ.get("BABELCLIP_STATE_DIR", ""),
    }
