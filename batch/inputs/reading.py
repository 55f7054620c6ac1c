"""A shard → its items, in order, read ahead of who takes them and no further than that."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

import pyarrow

from babelclip.errors import UNREADABLE_FILE
from babelclip.ingest.metadata import clean_text
from babelclip.ingest.sources.addresses import is_web_address
from babelclip.ingest.sources.base import EntryUnreadable, path_name
from babelclip.ingest.sources.object_store import is_store
from batch.inputs.places import Places
from batch.inputs.rows import table_items
from batch.inputs.tar import tar_items
from batch.job import Job
from batch.shards import Item, Shard, ShardError

Some = TypeVar("Some")

Opened = Callable[[], AbstractContextManager[BinaryIO]]
"""Opens a file to read."""
READERS = 8
"""Threads that read images of folders and of tables of paths, unless asked otherwise: they mostly wait."""
_BATCH_BYTES = 64_000_000
_AHEAD = 2  # batches that are read while one is embedded


@contextmanager
def batches(
    shard: Shard, job: Job, places: Places, listing: Opened, readers: int = READERS
) -> Iterator[tuple[pyarrow.Schema, Iterator[list[Item]]]]:
    """The columns that the input has beside images and texts, and the items in batches, always the same ones.

    Args:
        listing: of the manifest, with the paths of folders.

    Raises:
        ShardError: the shard cannot be read to its end, or is another than when the manifest was written.
        OSError: as it says. Both also while batches are taken.
    """
    if shard.size >= 0 and (size := places.size(shard.source)) not in (-1, shard.size):
        raise ShardError(
            f"{shard.source} has changed: {size:,} bytes, where the manifest has {shard.size:,};"
            " embed it into another folder"
        )
    with ThreadPoolExecutor(readers, "read") as pool, ThreadPoolExecutor(1, "batch") as ahead:
        schema, items = _items(shard, job, places, listing, pool, readers)
        try:
            yield schema, _ahead(ahead, _batches(items, job.batch))
        finally:
            pool.shutdown(cancel_futures=True)
            ahead.shutdown(cancel_futures=True)


def _items(
    shard: Shard, job: Job, places: Places, listing: Opened, pool: ThreadPoolExecutor, readers: int
) -> tuple[pyarrow.Schema, Iterator[Item]]:
    if shard.kind == "tar":
        return pyarrow.schema([("metadata", pyarrow.string())]), _tar(shard, places)
    if shard.kind == "files":
        files = (partial(_file, place, places) for place in _listed(shard, listing))
        return pyarrow.schema([]), in_order(pool, files, 4 * readers)
    schema, calls = table_items(shard, job, places)
    return schema, in_order(pool, calls, 4 * readers)


def _tar(shard: Shard, places: Places) -> Iterator[Item]:
    remote = is_web_address(shard.source) or is_store(shard.source)
    name = shard.source if remote else path_name(Path(shard.source))
    with places.reading(shard.source) as file:
        yield from tar_items(file, name)


def _listed(shard: Shard, listing: Opened) -> Iterator[str]:
    with listing() as lines:
        lines.seek(shard.begin)
        for line in islice(lines, shard.count):
            yield json.loads(line)


def _file(place: str, places: Places) -> Item:
    name = clean_text(place if is_store(place) else path_name(Path(place)))
    try:
        return Item(name, places.image(place if is_store(place) else name))
    except (EntryUnreadable, OSError, ValueError) as error:
        code = error.code if isinstance(error, EntryUnreadable) else UNREADABLE_FILE
        return Item(name, b"", code=code, message=clean_text(str(error)))


def in_order(pool: ThreadPoolExecutor, calls: Iterable[Callable[[], Some]], most: int) -> Iterator[Some]:
    """What the calls give, in their order; at most so many are begun and not yet taken."""
    begun: deque[Future[Some]] = deque()
    for call in calls:
        begun.append(pool.submit(call))
        if len(begun) == most:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def _batches(items: Iterator[Item], most: int) -> Iterator[list[Item]]:
    """By number and bytes alone, never by time: vectors can depend on their neighbours in the last bit."""
    batch: list[Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += len(item.data)
        if len(batch) == most or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _ahead(pool: ThreadPoolExecutor, found: Iterator[list[Item]]) -> Iterator[list[Item]]:
    """The same, made in the pool's one thread."""
    pending = deque(pool.submit(next, found, None) for _ in range(_AHEAD))
    while (batch := pending.popleft().result()) is not None:
        pending.append(pool.submit(next, found, None))
        yield batch


class Checksum:
    """SHA-256 of what was embedded: names, bytes and captions of all items, in order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, items: Iterable[Item]) -> None:
        """The next items."""
        for item in items:
            for part in (item.source.encode(), item.data, item.caption.encode()):
                self._digest.update(len(part).to_bytes(8, "big"))
                self._digest.update(part)

    def text(self) -> str:
        """64 hexadecimal digits."""
        return self._digest.hexdigest()
