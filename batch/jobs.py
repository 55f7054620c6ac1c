"""A job from its beginning to its end: manifest, lock, workers, and what it came to."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from babelclip.transports.url import is_local
from batch import driver, manifest, output
from batch.engines.base import Workers
from batch.inputs.places import Places
from batch.inputs.reading import READERS
from batch.job import Job, JobError
from batch.manifest import Manifest
from batch.model import Model
from batch.progress import Progress
from batch.shards import Counts
from batch.storage.base import Storage
from batch.worker import Task

Engine = Callable[[Task], Workers]
"""Makes the workers of a job, which start when they are entered."""


@dataclass(frozen=True)
class Outcome:
    """What a run of a job came to.

    Attributes:
        shards: of the job.
        embedded: by this run.
        failed: those that were set aside: number, source, attempts, reason.
        counts: items of this run.
        seconds: since the first worker was ready.
    """

    shards: int
    embedded: int
    failed: Sequence[dict[str, Any]]
    counts: Counts
    seconds: float


def embed(
    job: Job,
    storage: Storage,
    model: Model,
    engine: Engine,
    *,
    hosts: Sequence[str] = (),
    readers: int = READERS,
    attempts: int = driver.ATTEMPTS,
    progress: Progress | None = None,
) -> Outcome:
    """Begin a job, or go on with the one that is there.

    Args:
        job: what is asked for; must be what was begun there.
        hosts: of the Web, that may be asked.

    Raises:
        JobError: what is there is of another job, or another process is at it.
        EngineError: no worker can go on; what was finished stays.
        ValueError, OSError: the input cannot be cut; the output cannot be written.
    """
    progress = progress or Progress(storage)
    with driver.locked(storage, progress):
        made = _manifest(job, storage, hosts)
        task = Task(storage.address, made.job, model, tuple(hosts), readers)
        try:
            driver.run(made, engine(task), progress, attempts=attempts)
        except BaseException as error:
            progress.end("interrupted" if isinstance(error, KeyboardInterrupt) else "broken off", str(error))
            raise
        failed = driver.set_aside(storage)
        progress.end("incomplete" if failed else "finished")
    status = progress.status()
    return Outcome(made.count, progress.done, failed, progress.counts, status["seconds"])


def _manifest(job: Job, storage: Storage, hosts: Sequence[str]) -> Manifest:
    job = replace(job, inputs=tuple(_absolute(one) for one in job.inputs))
    found = manifest.read(storage)
    if found is not None:
        manifest.check_same(found, job)
        return found
    try:
        with Places(hosts) as places:
            return manifest.write(storage, job, places)
    except FileExistsError as error:
        raise JobError(f"another job has begun there meanwhile: {error}") from error


def _absolute(place: str) -> str:
    """A path as every worker and every later run finds it."""
    return place if "://" in place or is_local(place) else os.path.abspath(place)


def require(storage: Storage) -> Manifest:
    """The manifest of a job.

    Raises:
        JobError: there is none.
    """
    found = manifest.read(storage)
    if found is None:
        raise JobError(f"there is no job in {storage.address}: it has no {manifest.MANIFEST}")
    return found


def totals(storage: Storage) -> dict[str, Any]:
    """What the outputs of a job hold, by their own metadata; it may be at work.

    Raises:
        JobError, ValueError, OSError: there is no job, or an output is none.
    """
    made = require(storage)
    counts = Counts()
    finished = 0
    for name in output.parts(storage):
        metadata = output.read_metadata(storage, name)
        counts.add(Counts(metadata["items"], metadata["failed"]))
        finished += 1
    return {
        "shards": made.count,
        "finished": finished,
        "failed": driver.set_aside(storage),
        "items": counts.items,
        "errors": dict(sorted(counts.failed.items())),
        "modality": made.job.modality,
        **made.job.identity.as_json(),
    }
