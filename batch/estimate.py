"""What a job would take: a sample is embedded here by one worker, the rest is arithmetic.

The sample's rate is that of one worker alone. Workers of one machine share its memory's bandwidth, so their
sum is the most to be expected; `python -m benchmarks.bulk` measures what is left of it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from batch import manifest
from batch.inputs.places import Places
from batch.inputs.reading import batches
from batch.job import Job
from batch.manifest import LISTING
from batch.model import Embedder, Model
from batch.shards import Item, Shard
from batch.storage.local import LocalStorage

SAMPLE = 1024
_TAR_OVERHEAD = 1024  # bytes of an item in a tar beside its own: a header, and what fills up its last block
_ROW_BYTES = 200  # of the other columns of an output, about


@dataclass(frozen=True)
class Estimate:
    """What a job would take.

    Attributes:
        items: all of them; an estimate where there are tars, whose items nobody has counted.
        input_bytes: of a sampled item times all items.
        output_bytes: of all Parquet files, about.
        sampled, seconds: items that were embedded, and what that took one worker.
        workers: of a machine.
        hours: of all machines at it together.
        cost: in the currency of the price; None where there is none.
    """

    shards: int
    items: int
    input_bytes: int
    output_bytes: int
    sampled: int
    seconds: float
    workers: int
    machines: int
    hours: float
    cost: float | None

    def as_json(self) -> dict[str, Any]:
        """The same, by name."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """For people, with the arithmetic."""
        rate = self.sampled / self.seconds
        yield f"{self.shards:,} shards, about {self.items:,} items, {self.input_bytes / 1e9:,.3g} GB to read"
        yield f"{self.sampled:,} of them took one worker {self.seconds:.3g} s: {rate:,.1f} a second"
        yield (
            f"{self.items:,} / ({rate:,.1f} × {self.workers} workers × {self.machines} machines) ="
            f" {self.hours:,.3g} hours; {self.output_bytes / 1e9:,.3g} GB to write"
        )
        if self.cost is not None:
            price = self.cost / (self.hours * self.machines) if self.hours else 0.0
            yield f"{self.hours:,.3g} hours × {self.machines} machines × {price:,.4g} = {self.cost:,.2f}"


def processes(threads: int) -> int:
    """Workers of this machine, each with so many threads: together as many as it has cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)


def estimate(
    job: Job,
    model: Model,
    *,
    sample: int = SAMPLE,
    workers: int,
    machines: int = 1,
    price_per_hour: float | None = None,
    hosts: Sequence[str] = (),
    readers: int,
) -> Estimate:
    """Cut the input, embed a sample of it, and reckon.

    Raises:
        ValueError, OSError, ShardError: the input cannot be cut or read.
        BabelclipError: the model cannot be loaded.
    """
    if min(sample, workers, machines) < 1:
        raise ValueError("a dry run takes at least 1 item, 1 worker and 1 machine")
    with tempfile.TemporaryDirectory(prefix="babelclip-") as scratch, Places(hosts) as places:
        made = manifest.write(LocalStorage(Path(scratch)), job, places)
        embedder = model.open(job.tower, job.identity, job.threads)
        items, seconds = 0, 0.0
        size = 0
        try:
            for found, took in _embedded(made, embedder, places, readers, sample):
                items += len(found)
                size += sum(len(item.data) for item in found)
                seconds += took
        finally:
            embedder.close()
        a_item = size / max(items, 1)
        total = sum(_rows(shard, a_item + _TAR_OVERHEAD) for shard in made.shards())
    hours = total * seconds / max(items, 1) / workers / machines / 3600
    value = 2 if job.dtype == "float16" else 4
    return Estimate(
        shards=made.count,
        items=total,
        input_bytes=round(total * a_item),
        output_bytes=total * (job.identity.dim * value + _ROW_BYTES),
        sampled=items,
        seconds=seconds,
        workers=workers,
        machines=machines,
        hours=hours,
        cost=None if price_per_hour is None else hours * machines * price_per_hour,
    )


def _embedded(
    made: manifest.Manifest, embedder: Embedder, places: Places, readers: int, sample: int
) -> Iterator[tuple[list[Item], float]]:
    """Batches of the first shards, and the seconds that each took with its reading."""
    count = 0
    listing = partial(made.storage.reading, LISTING)
    for shard in made.shards():
        with batches(shard, made.job, places, listing, readers) as (_, found):
            began = time.perf_counter()
            for items in found:
                embedder.embed([item.data for item in items if not item.code])
                now = time.perf_counter()
                yield items, now - began
                began = now
                count += len(items)
                if count >= sample:
                    return


def _rows(shard: Shard, item_bytes: float) -> int:
    return shard.rows if shard.rows >= 0 else max(1, round(shard.size / item_bytes))
