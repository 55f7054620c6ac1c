"""A job from its beginning to its end: manifest, lock, workers, and what it came to."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from babelclip.transports.url import is_local
from batch import driver, manifest, output
from batch.engines.base import Workers
from batch.inputs.places import Places
from batch.inputs.reading import READERS
from batch.job import Job
from batch.manifest import Manifest
from batch.model import Model
from batch.progress import Progress
from batch.shards import Counts
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
    folder: Path,
    model: Model,
    engine: Engine,
    *,
    hosts: Sequence[str] = (),
    readers: int = READERS,
    attempts: int = driver.ATTEMPTS,
    progress: Progress | None = None,
) -> Outcome:
    """Begin a job, or go on with the one that the folder has.

    Args:
        job: what is asked for; must be what the folder was begun with.
        hosts: of the Web, that may be asked.

    Raises:
        JobError: the folder is of another job, or another process is at it.
        EngineError: no worker can go on; what was finished stays.
        ValueError, OSError: the input cannot be cut; the output cannot be written.
    """
    folder = Path(os.path.abspath(folder))
    progress = progress or Progress(folder)
    with driver.locked(folder):
        made = _manifest(job, folder, hosts)
        task = Task(str(folder), made.job, model, tuple(hosts), readers)
        try:
            driver.run(made, engine(task), progress, attempts=attempts)
        except BaseException as error:
            progress.end("interrupted" if isinstance(error, KeyboardInterrupt) else "broken off", str(error))
            raise
        failed = driver.set_aside(folder)
        progress.end("incomplete" if failed else "finished")
    status = progress.status()
    return Outcome(made.count, progress.done, failed, progress.counts, status["seconds"])


def _manifest(job: Job, folder: Path, hosts: Sequence[str]) -> Manifest:
    job = replace(job, inputs=tuple(_absolute(one) for one in job.inputs))
    found = manifest.read(folder)
    if found is not None:
        manifest.check_same(found, job)
        return found
    with Places(hosts) as places:
        return manifest.write(folder, job, places)


def _absolute(place: str) -> str:
    """A path as every worker and every later run finds it."""
    return place if "://" in place or is_local(place) else os.path.abspath(place)


def require(folder: Path) -> Manifest:
    """The manifest in a folder.

    Raises:
        JobError: there is none.
    """
    found = manifest.read(folder)
    if found is None:
        raise manifest.JobError(f"there is no job in {folder}: it has no {manifest.MANIFEST}")
    return found


def totals(folder: Path) -> dict[str, Any]:
    """What the outputs in a folder hold, by their own metadata; a job may be at it.

    Raises:
        JobError, ValueError, OSError: there is no job, or an output is none.
    """
    made = require(folder)
    counts = Counts()
    finished = 0
    for path in output.parts(folder):
        metadata = output.read_metadata(path)
        counts.add(Counts(metadata["items"], metadata["failed"]))
        finished += 1
    return {
        "shards": made.count,
        "finished": finished,
        "failed": driver.set_aside(folder),
        "items": counts.items,
        "errors": dict(sorted(counts.failed.items())),
        "modality": made.job.modality,
        **made.job.identity.as_json(),
    }
