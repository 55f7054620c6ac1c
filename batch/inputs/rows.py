"""Rows of Parquet, CSV and text files as items: which column is the image or the text, and what is kept.

An image is bytes in the row, also as `datasets` of Hugging Face has them, a struct of `bytes` and `path`, or
a path or address beside the table.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from babelclip.client.calls import LARGEST_MESSAGE
from babelclip.errors import IMAGE_TOO_MANY_BYTES, INVALID_ITEM
from babelclip.ingest.metadata import clean_text
from babelclip.ingest.sources.addresses import is_web_address
from babelclip.ingest.sources.base import EntryUnreadable, path_name
from babelclip.ingest.sources.object_store import is_store
from batch.inputs.cutting import CountedLines, delimiter
from batch.inputs.places import Places
from batch.job import Job
from batch.shards import Item, Shard, ShardError

IMAGES = (
    *("image", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes", "path", "file", "filename", "file_name"),
    *("image_path", "url", "image_url", "source"),
)
"""Columns that are looked for as images, unless one is named; in this order."""
TEXTS = ("text", "caption", "title", "sentence", "description", "query")
_CAPTIONS = ("caption", "text", "title", "description")
_ROWS = 256  # of a table, that are taken from its columns together

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Columns:
    """Of a table: the column that is embedded, that of captions, if any, and those that are kept."""

    item: str
    caption: str
    kept: tuple[str, ...]


def choose(names: Sequence[str], job: Job, place: str) -> Columns:
    """The columns of a table of these names.

    Raises:
        ShardError: it has no column that could be embedded, or not the one that was named.
    """
    usual = IMAGES if job.modality == "image" else TEXTS
    item = next((one for one in ((job.column,) if job.column else usual) if one in names), None)
    if item is None:
        wanted = job.column or f"{', '.join(usual[:-1])} or {usual[-1]}"
        raise ShardError(f"{place} has no column {wanted}; it has {', '.join(names)}: name one with --column")
    caption = ""
    if job.modality == "image":
        wanted_captions = (job.caption_column,) if job.caption_column else _CAPTIONS
        caption = next((one for one in wanted_captions if one in names and one != item), "")
    return Columns(item, caption, tuple(one for one in names if one not in (item, caption)))


def table_items(
    shard: Shard, job: Job, places: Places
) -> tuple[pyarrow.Schema, Iterator[Callable[[], Item]]]:
    """The kept columns of a shard of a table, and its items; each reads its image when it is called.

    Raises:
        ShardError: the table is broken, or has no column that could be embedded.
        OSError: it cannot be read.
    """
    if shard.kind == "parquet":
        return _parquet(shard, job, places)
    if shard.kind == "csv":
        return _csv(shard, job, places)
    rows = ({"text": line.rstrip("\r\n")} for line in _lines(shard, places, shard.begin, shard.count))
    return pyarrow.schema([]), _items(rows, Columns("text", "", ()), shard, job, places)


def _parquet(shard: Shard, job: Job, places: Places) -> tuple[pyarrow.Schema, Iterator[Callable[[], Item]]]:
    try:
        with places.seeking(shard.source) as opened, parquet.ParquetFile(opened) as file:
            schema = file.schema_arrow
    except pyarrow.ArrowException as error:
        raise ShardError(f"{shard.source} is no Parquet file: {error}") from error
    columns = choose(schema.names, job, shard.source)
    kept = pyarrow.schema([schema.field(name) for name in columns.kept])
    return kept, _items(_parquet_rows(shard, places), columns, shard, job, places)


def _parquet_rows(shard: Shard, places: Places) -> Iterator[Row]:
    groups = list(range(shard.begin, shard.begin + shard.count))
    try:
        with places.seeking(shard.source) as opened, parquet.ParquetFile(opened) as file:
            for batch in file.iter_batches(_ROWS, row_groups=groups):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, IndexError) as error:
        raise ShardError(f"{shard.source} cannot be read: {error}") from error


def _csv(shard: Shard, job: Job, places: Places) -> tuple[pyarrow.Schema, Iterator[Callable[[], Item]]]:
    with places.reading(shard.source) as file:
        names = next(csv.reader(CountedLines(file), delimiter=delimiter(shard.source)), [])
    columns = choose(names, job, shard.source)
    kept = pyarrow.schema([(name, pyarrow.string()) for name in columns.kept])
    lines = _lines(shard, places, shard.begin)
    records = islice(csv.reader(lines, delimiter=delimiter(shard.source)), shard.count)
    rows = (dict(zip(names, map(clean_text, one), strict=False)) for one in records if one)
    return kept, _items(rows, columns, shard, job, places)


def _lines(shard: Shard, places: Places, begin: int, count: int | None = None) -> Iterator[str]:
    with places.seeking(shard.source) as file:
        file.seek(begin)
        yield from islice(CountedLines(file, begin), count)


def _items(
    rows: Iterator[Row], columns: Columns, shard: Shard, job: Job, places: Places
) -> Iterator[Callable[[], Item]]:
    remote = is_web_address(shard.source) or is_store(shard.source)
    table = shard.source if remote else path_name(Path(shard.source))
    for number, row in enumerate(rows, shard.first):
        name = f"{table}#{number}"
        if job.modality == "text":
            yield partial(_text, row, columns, name)
        else:
            yield partial(_image, row, columns, name, shard, places)


def _text(row: Row, columns: Columns, name: str) -> Item:
    value = row.get(columns.item)
    kept = {one: row.get(one) for one in columns.kept}
    if not isinstance(value, str):
        said = "there is no text" if value is None else f"a text must be a text, not {type(value).__name__}"
        return Item(name, b"", "", kept, INVALID_ITEM, said)
    text = clean_text(value)
    return Item(name, text.encode(), text, kept)


def _image(row: Row, columns: Columns, name: str, shard: Shard, places: Places) -> Item:
    value = row.get(columns.item)
    caption = row.get(columns.caption) if columns.caption else None
    caption = clean_text(caption) if isinstance(caption, str) else ""
    kept = {one: row.get(one) for one in columns.kept}
    if isinstance(value, Mapping):  # of `datasets`
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str) and value.strip():
        place = _beside(shard.source, value.strip())
        name = place if "://" in place else path_name(Path(place))
        try:
            value = places.image(place)
        except (EntryUnreadable, ImportError) as error:
            code = error.code if isinstance(error, EntryUnreadable) else INVALID_ITEM
            return Item(clean_text(name), b"", caption, kept, code, str(error))
    if not isinstance(value, bytes):
        said = "an image must be bytes, a path or an address, not " + type(value).__name__
        return Item(clean_text(name), b"", caption, kept, INVALID_ITEM, said)
    if len(value) > LARGEST_MESSAGE:
        said = f"the image has {len(value):,} bytes"
        return Item(clean_text(name), b"", caption, kept, IMAGE_TOO_MANY_BYTES, said)
    return Item(clean_text(name), value, caption, kept)


def _beside(table: str, place: str) -> str:
    """A path that does not begin at the root is beside the table."""
    if "://" in place:
        return place
    if "://" in table:
        return f"{table.rpartition('/')[0]}/{place.lstrip('/')}"
    return os.path.join(os.path.dirname(table), place)
