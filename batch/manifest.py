"""`manifest.jsonl`: a job and its shards, written once and never changed.

The first line is the job, each other one a shard. Beside it lies `listing.jsonl`, the paths of folders. Both
are read line by line; what is done is not in them but shows by the files in `vectors`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from batch.inputs.cutting import cut
from batch.inputs.places import Places
from batch.job import Job, JobError
from batch.model import Identity
from batch.shards import Shard
from batch.storage.base import Storage

MANIFEST = "manifest.jsonl"
LISTING = "listing.jsonl"


@dataclass(frozen=True)
class Manifest:
    """One that was written. `shards` reads it again each time."""

    storage: Storage
    job: Job
    count: int

    def shards(self) -> Iterator[Shard]:
        """All of them, by number."""
        with self.storage.reading(MANIFEST) as lines:
            next(lines)
            for line in lines:
                yield Shard.of_line(line.decode())


def read(storage: Storage) -> Manifest | None:
    """The manifest that is there; None where there is none.

    Raises:
        JobError: it is none of this format.
        OSError: it cannot be read.
    """
    try:
        with storage.reading(MANIFEST) as lines:
            job = Job.of_line(next(lines).decode())
            return Manifest(storage, job, sum(1 for _ in lines))
    except FileNotFoundError:
        return None
    except (ValueError, StopIteration) as error:
        raise JobError(f"{MANIFEST} of {storage.address} cannot be read: {error}") from error


def write(storage: Storage, job: Job, places: Places) -> Manifest:
    """Cut the input and write down what it was cut into; all or nothing, and only once.

    Raises:
        ValueError, OSError: the input cannot be cut, see `batch.inputs.cutting.cut`.
        FileExistsError: another job has begun there meanwhile.
    """
    count = 0
    with (
        storage.creating(LISTING, MANIFEST) as (listing, manifest),
        listing.open("wb") as paths,
        manifest.open("w", encoding="utf-8") as lines,
    ):
        lines.write(job.line())
        for shard in cut(job.inputs, job.modality, job.shard_size, places, paths):
            lines.write(shard.line())
            count += 1
    return Manifest(storage, job, count)


def check_same(manifest: Manifest, asked: Job) -> None:
    """Whether a job may go on: with the model and the input that it was begun with.

    Raises:
        JobError: something of it is another; says what, and what may be done.
    """
    job = manifest.job
    ours, theirs = job.identity, asked.identity
    where = f"{manifest.storage.address} was begun with"
    instead = "go on with that, or embed into another folder"
    if ours.space != theirs.space:
        raise JobError(
            f"{where} the space {ours.space} (version {ours.version or '?'}), and this model is of"
            f" {theirs.space} (version {theirs.version or '?'}): {instead}"
        )
    if ours.archive != theirs.archive:
        raise JobError(
            f"{where} the {_archive(ours)} of the space {ours.space}, and this is the {_archive(theirs)}: its"
            f" vectors can differ; {instead}"
        )
    names: Sequence[str] = (
        "modality",
        "inputs",
        "dtype",
        "batch",
        "threads",
        "column",
        "caption_column",
        "shard_size",
    )
    for name in names:
        before, now = getattr(job, name), getattr(asked, name)
        if before != now:
            raise JobError(f"{where} {name.replace('_', ' ')} {_said(before)}, not {_said(now)}: {instead}")


def _archive(identity: Identity) -> str:
    return f"archive {identity.archive[:12]}" if identity.archive else "served model"


def _said(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else repr(value)
