"""What is new or changed in a source is embedded and added to an index, what is gone is dropped.

    with open_index("photographs.index") as index:
        report = add(index, client, FolderSource(Path("~/Pictures").expanduser()))

Rows are committed as it goes. A run that is broken off, however that was, costs no more than what it had not
committed: the next one goes on from there.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from babelclip.errors import (
    DEADLINE_EXCEEDED,
    IMAGE_NOT_FETCHED,
    OVERLOADED,
    UNREADABLE_FILE,
    SpaceMismatch,
)
from babelclip.index import Index, IndexBusy, Row, Settings, row_id
from babelclip.ingest.locks import adding
from babelclip.ingest.pipeline import BATCH, THREADS, Prepared, embedded_rows
from babelclip.ingest.rows import prepared, prepared_with_room
from babelclip.ingest.sources.base import Entry, Source
from babelclip.search.folder import Skipped

if TYPE_CHECKING:
    from babelclip.client.sync import Client

COMMIT = 256
"""Rows of a commit, unless asked otherwise: what a run that is killed may embed in vain."""
RETRIED = (OVERLOADED, DEADLINE_EXCEEDED, UNREADABLE_FILE, IMAGE_NOT_FETCHED)
"""Codes of items that every run tries again; others are tried again when the source has changed."""

_AT_ONCE = 256  # entries that are looked up together
_DELETED_AT_ONCE = 1000
_COMPACTED_AFTER = 20  # commits


@dataclass
class AddReport:
    """What a run did; while it goes on, what it has done so far.

    Attributes:
        total: entries that there are; None where it shows only at the end.
        listed: entries that were looked at.
        unchanged: of them, those that the index had as they are, from an earlier run.
        embedded: images that were embedded.
        updated: rows whose image was the same after all; only the time of the file, its caption or its
            metadata was another.
        failed: rows that this run left without a vector.
        dropped: rows whose source is gone.
        skipped: what could not be listed.
        seconds: since the run began.
    """

    total: int | None = None
    listed: int = 0
    unchanged: int = 0
    embedded: int = 0
    updated: int = 0
    failed: int = 0
    dropped: int = 0
    skipped: tuple[Skipped, ...] = ()
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """Entries that are finished."""
        return self.unchanged + self.embedded + self.updated + self.failed


Progress = Callable[[AddReport], None]


class NothingListed(ValueError):
    """A source of which the index has rows has nothing at all: most likely a disk that is not mounted."""


def add(
    index: Index,
    client: Client,
    source: Source,
    *,
    batch_size: int = BATCH,
    commit: int = COMMIT,
    threads: int = THREADS,
    allow_empty: bool = False,
    progress: Progress | None = None,
) -> AddReport:
    """Bring the rows of a source's collection to what the source has now.

    An image that another collection of the index has already stays there and is not embedded again.

    Args:
        client: of the model that the index is of.
        batch_size: images that are embedded together.
        commit: rows that are committed together.
        threads: that read and describe images.
        allow_empty: drop all rows of the collection where the source has none.
        progress: called after each batch.

    Raises:
        SpaceMismatch: the client's model is of another space than the index.
        IndexBusy: another process adds this collection, or a migration is at its last step.
        NothingListed: see there.
        BabelclipError: images got no answer; what was answered before is committed.
        OSError, ValueError: the source cannot be listed.
    """
    if commit < 1:
        raise ValueError(f"commit must be at least 1 row, not {commit}")
    with adding(index.info().address, source.collection):
        run = _Run(index, client, source, progress)
        run.embed(batch_size, commit, threads)
        run.drop(allow_empty)
        return run.finish()


class _Run:
    def __init__(self, index: Index, client: Client, source: Source, progress: Progress | None) -> None:
        self._index, self._client, self._source = index, client, source
        self._progress = progress
        self._began = time.monotonic()
        self._commits = 0
        self._settings = index.settings
        self._why_too_large = index.size_check()
        self._space = _same_space(client, self._settings)
        self.report = AddReport(total=source.total())
        ours = {"collection": source.collection, "kind": "image"}
        columns = ("fingerprint", "error_code")
        # By id: the fingerprint, or nothing where it is to be tried again.
        self._known: dict[str, str] = {
            row.id: "" if row.error_code in RETRIED else row.fingerprint
            for rows in index.scan(where=ours, columns=columns)
            for row in rows
        }
        self._listed: set[str] = set()

    def embed(self, batch_size: int, commit: int, threads: int) -> None:
        rows: list[Row] = []
        try:
            for batch in embedded_rows(self._client, self._images(), batch_size=batch_size, threads=threads):
                rows += batch.rows
                failed = sum(bool(row.error_code) for row in batch.rows)
                self.report.failed += failed
                self.report.embedded += batch.embedded
                self.report.updated += len(batch.rows) - failed - batch.embedded
                if len(rows) >= commit:
                    self._commit(rows)
                    rows = []
                self._tell()
        finally:
            self._commit(rows)

    def drop(self, allow_empty: bool) -> None:
        """Drop what was not listed, where it would have been."""
        self.report.skipped = tuple(self._source.skipped())
        gone = [one for one in self._known if one not in self._listed]
        if gone and not self._listed and not allow_empty:
            raise NothingListed(
                f"there is nothing in {self._source.collection}, of which the index has {len(gone)} rows: is"
                " it mounted? Nothing was dropped; allow it to be empty to drop them"
            )
        for start in range(0, len(gone), _DELETED_AT_ONCE):
            part = gone[start : start + _DELETED_AT_ONCE]
            found = [row for row in self._index.get(part, columns=("source",)) if row is not None]
            dropped = [row.id for row in found if self._source.could_list(row.source)]
            if dropped:
                self.report.dropped += self._index.delete(dropped)
                self._commits += 1

    def finish(self) -> AddReport:
        if self._commits >= _COMPACTED_AFTER:
            with suppress(IndexBusy):  # Then another process is doing it.
                self._index.compact()
        self._tell()
        return self.report

    def _images(self) -> Iterator[Callable[[], Prepared]]:
        """Those that are new, changed or to be tried again."""
        group: list[tuple[str, Entry]] = []
        for entry in self._source.entries():
            id_ = row_id(entry.source)
            if id_ in self._listed:
                continue  # It stands in a list twice.
            self._listed.add(id_)
            self.report.listed += 1
            if entry.fingerprint and self._known.get(id_) == entry.fingerprint:
                self.report.unchanged += 1
                continue
            group.append((id_, entry))
            if len(group) == _AT_ONCE:
                yield from self._changed(group)
                group = []
        yield from self._changed(group)

    def _changed(self, group: Sequence[tuple[str, Entry]]) -> Iterator[Callable[[], Prepared]]:
        if not group:
            return
        columns = ("fingerprint", "error_code", "collection", "checksum", "vector")
        for (id_, entry), before in zip(
            group, self._index.get([id_ for id_, _ in group], columns=columns), strict=True
        ):
            collection = self._source.collection
            if before is not None and before.collection != collection:
                if before.fingerprint == entry.fingerprint and before.error_code not in RETRIED:
                    self.report.unchanged += 1
                    continue
                collection = before.collection
            prepare = functools.partial(prepared, entry, id_, collection, self._settings.fields, before)
            yield functools.partial(prepared_with_room, prepare, self._why_too_large)

    def _commit(self, rows: list[Row]) -> None:
        if rows:
            self._index.upsert(rows, space=self._space)
            self._commits += 1

    def _tell(self) -> None:
        self.report.seconds = time.monotonic() - self._began
        if self._progress is not None:
            self._progress(replace(self.report))


def _same_space(client: Client, settings: Settings) -> str:
    """The space of the client's model, which is asked for it where it has not answered yet."""
    space = client.space or client.health(towers=("vision",))
    if space != settings.space:
        raise SpaceMismatch(
            f"the index is of the space {settings.space} (version {settings.version or '?'}), the model gives"
            f" {space}: use that version, or migrate the index"
        )
    return space
