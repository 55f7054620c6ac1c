"""One shard, from its bytes to its Parquet file: what every worker does, in whichever engine."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow

from babelclip.embeddings import Embeddings
from babelclip.errors import BabelclipError, TransportError
from babelclip.ingest.metadata import clean_text
from batch.inputs.places import Places
from batch.inputs.reading import READERS, Checksum, batches
from batch.job import Job
from batch.manifest import LISTING
from batch.model import Embedder, Model
from batch.output import PartWriter, part_name
from batch.shards import Counts, Item, Shard, ShardError
from batch.storage.opening import open_storage

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

Progress = Callable[[Counts], None]


class OutputFull(Exception):
    """Nothing more can be written: no other worker could, either."""


class WorkerLost(Exception):
    """This process cannot go on: its device is lost, or its model does not answer."""


@dataclass(frozen=True)
class Task:
    """What every worker of a job is told.

    Attributes:
        output: the address of its storage; all workers see it under this one.
        hosts: of the Web, that may be asked.
        readers: threads that read images.
    """

    output: str
    job: Job
    model: Model
    hosts: tuple[str, ...] = ()
    readers: int = READERS


class Worker:
    """A tower that is loaded, and shards for it.

    Raises:
        BabelclipError, OSError, ImportError, ValueError: the tower cannot be loaded.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._storage = open_storage(task.output)
        self._places = Places(task.hosts)
        self._embedder: Embedder = task.model.open(task.job.tower, task.job.identity, task.job.threads)

    def run(self, shard: Shard, progress: Progress) -> Counts:
        """Embed a shard; its output is there when this returns.

        Args:
            progress: told after each batch.

        Raises:
            ShardError: the shard cannot be embedded, here or now; nothing is written.
            OutputFull, WorkerLost: as they say; nothing is written either.
        """
        try:
            # Shared: a worker that was given up for dead may still be writing.
            with self._storage.writing(part_name(shard.number), shared=True) as (path,):
                return self._write(shard, path, progress)
        except TransportError as error:
            raise WorkerLost(sentence(error)) from error
        except OSError as error:
            if error.errno in _FULL:
                said = f"nothing can be written to {self._storage.address}: {error.strerror}"
                raise OutputFull(said) from error
            raise ShardError(sentence(error)) from error
        except (BabelclipError, pyarrow.ArrowException, ValueError, ImportError) as error:
            raise ShardError(sentence(error)) from error

    def _write(self, shard: Shard, path: Path, progress: Progress) -> Counts:
        task = self._task
        checksum = Checksum()
        logit_scale = 1.0
        listing = partial(self._storage.reading, LISTING)
        with (
            batches(shard, task.job, self._places, listing, task.readers) as (columns, found),
            PartWriter(path, task.job, columns) as writer,
        ):
            for items in found:
                checksum.add(items)
                sent = [place for place, item in enumerate(items) if not item.code]
                embeddings = self._embed(items, sent)
                if sent:
                    logit_scale = embeddings.logit_scale
                progress(writer.write(items, sent, embeddings))
            writer.finish(shard, checksum.text(), logit_scale)
            return writer.counts

    def _embed(self, items: list[Item], sent: list[int]) -> Embeddings:
        identity = self._task.job.identity
        if not sent:
            return Embeddings(np.zeros((0, identity.dim), np.float32), identity.space, 1.0)
        found = self._embedder.embed([items[place].data for place in sent])
        if found.space != identity.space or (found.dim != identity.dim and len(found.errors) < len(sent)):
            raise WorkerLost(
                f"the model answered with the space {found.space} ({found.dim} values), and the job is of"
                f" {identity.space} ({identity.dim})"
            )
        return found

    def close(self) -> None:
        """Let go of the tower."""
        self._embedder.close()
        self._places.__exit__()


def sentence(error: BaseException) -> str:
    """What an error says, on one line; what kind it is where it says nothing."""
    return clean_text(" ".join(str(error).split())) or type(error).__name__
