"""A list of images as CSV, TSV or Parquet: a column of paths, one of captions, others as metadata."""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from babelclip.ingest.sources.addresses import is_web_address, not_allowed
from babelclip.ingest.sources.base import (
    Entry,
    fingerprint_of,
    path_fingerprint,
    path_name,
    read_path,
)
from babelclip.search.folder import Skipped

SUFFIXES = (".csv", ".tsv", ".parquet")
_IMAGES = ("image", "path", "file", "filename", "file_name", "image_path", "url", "image_url", "source")
_CAPTIONS = ("caption", "text", "title", "description")


class TableSource:
    """Rows of a table; a path that does not begin at the root is beside the table.

    Args:
        image, caption: the columns; the first of the usual names unless given.
        fetch: gives what is at an address on the Web, as an `AddressReader` does; without it, such rows have
            an error. What is at an address is looked at once: another image there is not noticed.

    Raises:
        ValueError: from `entries`: the table cannot be read, or has no such column.
    """

    def __init__(
        self,
        table: Path,
        *,
        image: str = "",
        caption: str = "",
        name: str = "",
        fetch: Callable[[str], bytes] = not_allowed,
    ) -> None:
        self._table = table
        self._image, self._caption, self._name, self._fetch = image, caption, name, fetch

    @property
    def collection(self) -> str:
        """The name that was given, or the path of the table."""
        return self._name or path_name(self._table)

    def total(self) -> int | None:
        """How many rows there are, where the table says so."""
        if self._table.suffix.lower() != ".parquet":
            return None
        with _parquet(self._table) as file:
            return int(file.metadata.num_rows)

    def entries(self) -> Iterator[Entry]:
        """As they stand in the table."""
        for row in self._rows():
            image = _column(row, self._image, _IMAGES, self._table)
            place = str(row.pop(image) or "").strip()
            if not place:
                continue
            wanted = self._caption or next((one for one in _CAPTIONS if one in row), "")
            caption = str(row.pop(wanted, "") or "")
            metadata = {key: value for key, value in row.items() if key and value is not None}
            yield self._entry(place, caption, metadata)

    def skipped(self) -> Sequence[Skipped]:
        """Nothing: a table that cannot be read is an error."""
        return ()

    def could_list(self, source: str) -> bool:
        """Always."""
        return True

    def _entry(self, place: str, caption: str, metadata: dict[str, Any]) -> Entry:
        notes = fingerprint_of(caption, metadata)
        if is_web_address(place):
            return Entry(place, notes, functools.partial(self._fetch, place), caption, metadata)
        path = self._table.parent / place
        fingerprint = path_fingerprint(path)
        read = functools.partial(read_path, path)
        return Entry(path_name(path), fingerprint and f"{fingerprint}-{notes}", read, caption, metadata)

    def _rows(self) -> Iterator[dict[str, Any]]:
        if self._table.suffix.lower() == ".parquet":
            with _parquet(self._table) as file:
                for batch in file.iter_batches(1024):
                    yield from batch.to_pylist()
            return
        delimiter = "\t" if self._table.suffix.lower() == ".tsv" else ","
        with self._table.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            reader = csv.DictReader(lines, delimiter=delimiter, restval="")
            try:
                yield from (dict(row) for row in reader)
            except csv.Error as error:
                raise ValueError(f"{self._table}, line {reader.line_num}: {error}") from error


def _column(row: dict[str, Any], asked: str, usual: Sequence[str], table: Path) -> str:
    found = next((one for one in ((asked,) if asked else usual) if one in row), None)
    if found is None:
        wanted = asked or f"{', '.join(usual[:-1])} or {usual[-1]}"
        raise ValueError(
            f"{table} has no column {wanted}; it has {', '.join(str(key) for key in row if key)}"
        )
    return found


def _parquet(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("reading Parquet needs pyarrow: pip install 'babelclip[search]'") from error
    try:
        return pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path} is no Parquet file: {error}") from error
