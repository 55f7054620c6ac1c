"""The input, cut into shards: each tar is one; tables, lists and folders are cut into runs of rows.

What stands in the manifest is a place in a file, never a path for each item. Of a folder the paths go into a
listing beside it, as they are found: no more than the names of one folder are held at a time.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Literal

from babelclip.ingest.sources.addresses import is_web_address
from babelclip.ingest.sources.object_store import is_store
from babelclip.search.folder import EXCLUDED, SUFFIXES
from batch.inputs.places import Places, expand, file_system
from batch.job import Modality
from batch.shards import Shard


def cut(
    inputs: Sequence[str], modality: Modality, size: int, places: Places, listing: BinaryIO
) -> Iterator[Shard]:
    """The shards of all inputs, in their order; one that is named twice counts once.

    Args:
        inputs: folders, `.tar`, `.parquet`, `.csv`, `.tsv`, and `.txt` of texts; as paths or addresses, with
            `{000..009}` and `*`.
        size: items of a run.
        listing: the paths of folders are written there, a line of JSON each.

    Raises:
        ValueError: an input is none of these, or there is nothing of it.
        OSError: it cannot be read.
    """
    if size < 1:
        raise ValueError(f"a shard has at least 1 item, not {size}")
    places_seen: set[str] = set()
    seen: set[str] = set()
    number = 0
    for named in inputs:
        found = False
        for place in expand(named):
            found = found or _real(place) in places_seen
            if _real(place) in places_seen:
                continue
            places_seen.add(_real(place))
            for shard in _shards_of(place, modality, size, places, listing):
                found = True
                if shard.kind != "files":
                    key = _key(shard)
                    if key in seen:
                        continue
                    seen.add(key)
                yield replace(shard, number=number)
                number += 1
        if not found:
            raise ValueError(f"there is nothing to embed in {named}")


def _key(shard: Shard) -> str:
    return f"{_real(shard.source)}\0{shard.begin}"


def _real(place: str) -> str:
    """The same of a file by whichever name."""
    return place if "://" in place else os.path.realpath(place)


def _shards_of(
    place: str, modality: Modality, size: int, places: Places, listing: BinaryIO
) -> Iterator[Shard]:
    suffix = PurePosixPath(place).suffix.lower()
    remote = is_web_address(place) or is_store(place)
    if not remote:
        place = os.path.abspath(place)
    if modality == "image" and suffix == ".tar":
        yield Shard(0, "tar", place, size=places.size(place))
    elif suffix == ".parquet" and (remote or not os.path.isdir(place)):
        yield from _row_groups(place, size, places)
    elif suffix in (".csv", ".tsv"):
        yield from _records(place, size, places, "csv")
    elif modality == "text" and suffix == ".txt":
        yield from _records(place, size, places, "lines")
    elif modality == "image" and not is_web_address(place):
        yield from _folder(place, size, places, listing)
    else:
        allowed = "a folder, .tar" if modality == "image" else ".txt"
        raise ValueError(f"{place} is no input of {modality}s: those are {allowed}, .parquet, .csv and .tsv")


def _row_groups(place: str, size: int, places: Places) -> Iterator[Shard]:
    import pyarrow
    from pyarrow import parquet

    try:
        with places.seeking(place) as opened, parquet.ParquetFile(opened) as file:
            metadata = file.metadata
            rows = [metadata.row_group(one).num_rows for one in range(metadata.num_row_groups)]
    except pyarrow.ArrowException as error:
        raise ValueError(f"{place} is no Parquet file: {error}") from error
    bytes_ = places.size(place)
    begin = first = 0
    while begin < len(rows):
        end, held = begin + 1, rows[begin]
        while end < len(rows) and held + rows[end] <= size:
            held += rows[end]
            end += 1
        yield Shard(0, "parquet", place, begin=begin, count=end - begin, first=first, rows=held, size=bytes_)
        begin, first = end, first + held


def _records(place: str, size: int, places: Places, kind: Literal["csv", "lines"]) -> Iterator[Shard]:
    """Runs of lines, or of rows of a CSV, whose fields may hold line ends."""
    bytes_ = places.size(place)
    with places.reading(place) as file:
        lines = CountedLines(file)
        records: Iterator[Any] = lines
        if kind == "csv":
            records = csv.reader(lines, delimiter=delimiter(place))
            next(records, None)  # the names of the columns
        begin = lines.offset
        first = count = 0
        try:
            for _ in records:
                count += 1
                if count == size:
                    yield Shard(
                        0, kind, place, begin=begin, count=count, first=first, rows=count, size=bytes_
                    )
                    begin, first, count = lines.offset, first + count, 0
        except csv.Error as error:
            raise ValueError(f"{place} is no CSV after byte {lines.offset:,}: {error}") from error
        if count:
            yield Shard(0, kind, place, begin=begin, count=count, first=first, rows=count, size=bytes_)


class CountedLines:
    """The lines of a file as texts, and at which byte the next one begins."""

    def __init__(self, file: BinaryIO, offset: int = 0) -> None:
        self._file = file
        self.offset = offset

    def __iter__(self) -> CountedLines:
        return self

    def __next__(self) -> str:
        line = self._file.readline()
        if not line:
            raise StopIteration
        encoding = "utf-8" if self.offset else "utf-8-sig"
        self.offset += len(line)
        return line.decode(encoding, "replace")


def delimiter(place: str) -> str:
    """Of the fields of a `.csv` or `.tsv`."""
    return "\t" if place.lower().endswith(".tsv") else ","


def _folder(place: str, size: int, places: Places, listing: BinaryIO) -> Iterator[Shard]:
    """A folder: of tars, where some lie in it, of Parquet, where nothing else does, else of images below."""
    if is_store(place):
        system, root = file_system(place)
        names = _walk_store(system, root.rstrip("/"))
        direct = sorted(str(system.unstrip_protocol(one)) for one in system.ls(root, detail=False))
    else:
        if not os.path.isdir(place):
            raise ValueError(f"{place} is no folder, and no .tar, .parquet, .csv or .tsv")
        names = _walk(place)
        direct = sorted(os.path.join(place, name) for name in os.listdir(place) if name[0] not in "._")
    shards = [one for one in direct if one.lower().endswith(".tar")]
    if not shards and all(one.lower().endswith(".parquet") for one in direct):
        shards = direct
    if shards:
        for one in shards:
            yield from _shards_of(one, "image", size, places, listing)
        return
    begin, count = listing.tell(), 0
    for name in names:
        listing.write(json.dumps(name).encode() + b"\n")
        count += 1
        if count == size:
            yield Shard(0, "files", place, begin=begin, count=count, rows=count)
            begin, count = listing.tell(), 0
    if count:
        yield Shard(0, "files", place, begin=begin, count=count, rows=count)


def _walk(folder: str) -> Iterator[str]:
    """Paths of images, folder by folder, each sorted.

    Hidden ones, links to folders, and folders in which disks and programs keep their own are left out.

    Raises:
        OSError: a folder cannot be listed: what would be missing is not to be missed in silence.
    """
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            if not any(fnmatchcase(entry.name.casefold(), pattern.casefold()) for pattern in EXCLUDED):
                yield from _walk(entry.path)
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            yield entry.path


def _walk_store(system: Any, root: str) -> Iterator[str]:
    for path, folders, files in system.walk(root):
        folders.sort()
        for name in sorted(files):
            if PurePosixPath(name).suffix.lower() in SUFFIXES:
                yield str(system.unstrip_protocol(f"{path}/{name}"))
