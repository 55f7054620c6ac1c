"""A model without weights for workers in other processes, items that hurt them, and inputs."""

from __future__ import annotations

import errno
import io
import os
import signal
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

import batch.output
from babelclip.embeddings import Embeddings
from babelclip.errors import TransportError
from babelclip.item_errors import ItemError
from babelclip.testing import InMemoryTransport
from babelclip.wire import Tower
from batch import jobs
from batch.engines.local import LocalWorkers
from batch.job import Job
from batch.jobs import Outcome
from batch.model import Embedder, Identity
from batch.output import parts
from batch.storage.opening import open_storage

DIM = 8
PATIENCE = 120.0
BAD = b"BAD"
"""An item that has no vector."""
KILL = b"KILL"
"""An item that kills its process; KILL and a path does so until there is a file, which it makes."""
WAIT = b"WAIT"
"""WAIT and a path: an item that makes the file PATH.met, and is embedded once there is a file PATH."""


@dataclass(frozen=True)
class MemoryModel:
    """Vectors come from a hash of the item."""

    space: str = "in-memory"
    archive: str = "0" * 64
    missing: bool = False
    """Whether it cannot be loaded."""

    def identity(self, tower: Tower) -> Identity:
        return Identity(self.space, "1.0", DIM, self.archive)

    def open(self, tower: Tower, identity: Identity, threads: int) -> Embedder:
        if self.missing:
            raise TransportError("there is no such model")
        return MemoryEmbedder(self.space)


FULL = b"FULL"
"""FULL and a path: an item at which the disk is full, until there is a file, which it makes."""


class MemoryEmbedder:
    """Does to its process what items ask for."""

    def __init__(self, space: str) -> None:
        self._vectors = InMemoryTransport(space=space, dim=DIM)

    def embed(self, items: Sequence[bytes]) -> Embeddings:
        errors = []
        rows = np.zeros((len(items), DIM), np.float32)
        for index, item in enumerate(items):
            if item.startswith(KILL):
                _kill_once(item.removeprefix(KILL).decode())
            if item.startswith(WAIT):
                _wait(item.removeprefix(WAIT).decode())
            if item.startswith(FULL) and _first(item.removeprefix(FULL).decode()):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if item == BAD:
                errors.append(ItemError(index, "image_undecodable", "it is no image"))
            else:
                rows[index] = self._vectors.vector(item)
        return Embeddings(rows, self._vectors.space, 50.0, tuple(errors), version="1.0")

    def close(self) -> None:
        pass


def _first(path: str) -> bool:
    """Whether there was no such file; there is one now."""
    try:
        Path(path).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _kill_once(path: str) -> None:
    if path and not _first(path):
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _wait(path: str) -> None:
    Path(f"{path}.met").touch()
    while not Path(path).exists():
        time.sleep(0.02)


def wait_for(path: Path) -> None:
    """Until there is such a file."""
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < end, f"{path} has not come"
        time.sleep(0.02)


def image_job(*inputs: str | Path, model: MemoryModel | None = None, **fields: Any) -> Job:
    """A job of images with small batches."""
    identity = (model or MemoryModel()).identity("vision")
    settings = {"modality": "image", "batch": 2, **fields}
    return Job(inputs=tuple(map(str, inputs)), identity=identity, **settings)


def embed(
    job: Job, output: Path | str, processes: int = 1, model: MemoryModel | None = None, **options: Any
) -> Outcome:
    """The job, by processes of this machine."""
    model = model or MemoryModel()
    storage = open_storage(output)
    return jobs.embed(job, storage, model, lambda task: LocalWorkers(task, processes), readers=2, **options)


def make_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """A tar of files, always the same bytes."""
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def make_shards(folder: Path, count: int, items: int = 4, **replaced: bytes) -> list[Path]:
    """Tars of images that are none; `i2_3=b"…"` replaces the item 3 of shard 2."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        make_tar(
            folder / f"{shard:03d}.tar",
            {
                f"{item:03d}.jpg": replaced.get(f"i{shard}_{item}", b"image %d of %d" % (item, shard))
                for item in range(items)
            },
        )
        for shard in range(count)
    ]


def finished(output: Path | str) -> set[int]:
    """The numbers of the shards whose output is there."""
    return batch.output.finished(open_storage(output))


def rows(output: Path | str) -> list[dict[str, Any]]:
    """All rows of all outputs, in order."""
    found = contents(output).values()
    return [row for data in found for row in parquet.read_table(io.BytesIO(data)).to_pylist()]


def contents(output: Path | str) -> dict[str, bytes]:
    """The bytes of all outputs by name, in order."""
    storage = open_storage(output)
    found = {}
    for name in parts(storage):
        with storage.reading(name) as file:
            found[name.rpartition("/")[2]] = file.read()
    return found
