"""The deployments of a version, and the application that both are."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from babelclip.model_store.archives import Archive
from babelclip.ray_serve.loopback import listen_on_loopback
from babelclip.ray_serve.metrics import RelayedMetrics
from babelclip.ray_serve.resources import Resources
from babelclip.ray_serve.tower import ArchivedTower
from babelclip.transports.ray_handles import import_ray
from babelclip.wire import TOWERS, Tower

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedTower:
    """What a replica is made of.

    Attributes:
        archive: where every node finds the archive.
        gpu: whether the replica has a GPU, or a share of one.
        environment: variables for the handler.
    """

    tower: Tower
    archive: Path
    sha256: str
    version: str
    gpu: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


class TowerReplica:
    """A process with one tower, which is ready once the tower has proved itself.

    Args:
        served: the tower.
        others: handles of the deployments that are in one application with this one, by being given to it.
    """

    def __init__(self, served: ServedTower, *others: object) -> None:
        listen_on_loopback()
        os.environ.update(served.environment)
        self._tower = ArchivedTower(
            served.tower,
            Archive(served.archive, served.sha256),
            served.version,
            metrics=RelayedMetrics(),
            gpu=0 if served.gpu else None,  # Ray shows a process its own GPUs alone.
        )
        # A handler takes one batch at a time; meanwhile the event loop fills the next.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tower")

        async def embed(bodies: list[bytes]) -> list[bytes]:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._in_thread, bodies)

        self._batched = import_ray("ray.serve").batch(
            max_batch_size=self._tower.batch_size, batch_wait_timeout_s=self._tower.batch_delay
        )(embed)

    async def __call__(self, body: bytes) -> bytes:
        """A serialized EmbedRequest → an EmbedResponse, computed together with others of the time."""
        answer: bytes = await self._batched(body)
        return answer

    def _in_thread(self, bodies: list[bytes]) -> list[bytes]:
        try:
            return self._tower.embed(bodies)
        except SystemExit as error:
            # How a handler asks for a new process. Ray starts one, and who called sends again what was here.
            _log.error("%s", error)
            os._exit(1)


class DefaultVersion:
    """Tells the default version by the name of its deployment; there is never a replica of it."""


def version_application(towers: Mapping[Tower, ServedTower], resources: Resources) -> Any:
    """Both towers of a version as an application, to be given to `serve.run`.

    An application hangs on one deployment. Here it is the text tower, which is given a handle of the other
    and does not use it: one more process, which only passes on, would cost memory and time for nothing.
    """
    deployment = import_ray("ray.serve").deployment
    bound: list[Any] = []
    for tower in reversed(TOWERS):
        made = deployment(name=tower, **resources.options())(TowerReplica)
        bound.append(made.bind(towers[tower], *bound))
    return bound[-1]


def default_application(version: str) -> Any:
    """The application that tells the default version."""
    scaling = {"min_replicas": 0, "initial_replicas": 0, "max_replicas": 1}
    deployment = import_ray("ray.serve").deployment(name=version, autoscaling_config=scaling)
    return deployment(DefaultVersion).bind()
