"""An index moves to another model while it is searched: all of it is embedded again beside the old rows.

    with open_index("photographs.index") as index:
        report = migrate(index, Client(url, version="2.0"))

The new generation is filled piece by piece, so an interruption costs next to nothing, and what is added to
the old one meanwhile is fetched before the end. Only when it is whole and proven does it become the current
one, in one step: whoever searches gets an answer of the one space or of the other, never of both.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from babelclip.errors import BabelclipError
from babelclip.index import DETAILS, Index, IndexBusy, Row, Settings, open_index
from babelclip.ingest.add import COMMIT, RETRIED
from babelclip.ingest.images import checksum_of
from babelclip.ingest.locks import alone, migrating
from babelclip.ingest.metadata import clean_text
from babelclip.ingest.pipeline import BATCH, THREADS, Prepared, embedded_rows
from babelclip.ingest.proof import Proof, prove
from babelclip.ingest.rows import described
from babelclip.ingest.sources.base import EntryUnreadable
from babelclip.ingest.sources.reading import read_row

if TYPE_CHECKING:
    from babelclip.client.sync import Client

MIN_RECALL = 0.8
"""Of golden queries, unless asked otherwise, below which a generation is not made current."""
DROP_AFTER = 60.0
"""Seconds that searches which began in the old generation have to end, unless asked otherwise."""
_AT_ONCE = 256  # rows that are read together
_PASSES = 5  # over what was added meanwhile, before adding is held up
_PATIENCE = 600.0  # seconds to wait for those who add


@dataclass
class MigrationReport:
    """What a migration did; while it goes on, what it has done so far.

    Attributes:
        previous, generation: the names of the old and the new generation.
        settings: of the new one.
        total, done: rows of the old generation, and those that are in the new one.
        embedded: images that this run embedded.
        failed: rows that this run left without a vector.
        proof: of the whole; None until then.
        seconds: since this run began.
    """

    previous: str
    generation: str
    settings: Settings
    total: int = 0
    done: int = 0
    embedded: int = 0
    failed: int = 0
    proof: Proof | None = None
    seconds: float = 0.0


class MigrationIncomplete(BabelclipError):
    """The new generation is not fit to become current; it stays, and the next run goes on with it."""

    def __init__(self, message: str, report: MigrationReport) -> None:
        super().__init__(message)
        self.report = report


def migrate(
    index: Index,
    client: Client,
    *,
    read: Callable[[Row], bytes] = read_row,
    allow_missing: bool = False,
    min_recall: float = MIN_RECALL,
    drop_after: float | None = DROP_AFTER,
    batch_size: int = BATCH,
    commit: int = COMMIT,
    threads: int = THREADS,
    progress: Callable[[MigrationReport], None] | None = None,
) -> MigrationReport:
    """Embed all rows again by the client's model, and make that the current generation.

    Args:
        client: of the model that the index is to be of.
        read: gives the encoded image of a row, or raises EntryUnreadable.
        allow_missing: make it current although rows would lose their vectors, because their images are not
            there any more or the model cannot read them.
        min_recall: the least share of golden queries that must find their row.
        drop_after: seconds after which the old generation is dropped; None to keep it.
        progress: called after each batch.

    Raises:
        MigrationIncomplete: rows would lose their vectors, or too few golden queries find their rows.
        IndexBusy: another process migrates the index, or goes on adding to it.
        ValueError: the index is of that model already.
        BabelclipError: images got no answer; what was answered before is committed.
    """
    address = index.info().address
    with migrating(address):
        run = _Migration(index, address, client, read, progress)
        report = run.report
        for _ in range(_PASSES):
            if not run.copy(batch_size, commit, threads):
                break
        run.new.compact()
        with ExitStack() as held:
            _wait_for_adders(held, address)
            run.copy(batch_size, commit, threads)
            report.proof = prove(run.old, run.new, client)
            _judge(report, allow_missing, min_recall)
            index.promote(report.generation)
        if drop_after is not None:
            time.sleep(drop_after)
            index.drop_generation(report.previous)
        return report


class _Migration:
    def __init__(
        self,
        index: Index,
        address: str,
        client: Client,
        read: Callable[[Row], bytes],
        progress: Callable[[MigrationReport], None] | None,
    ) -> None:
        self._client, self._read, self._progress = client, read, progress
        self._began = time.monotonic()
        previous, settings = index.info().generation, index.settings
        wanted = _settings(client, settings)
        if wanted.space == settings.space:
            raise ValueError(f"the index at {address} is of the space {settings.space} already")
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", f"{wanted.version or 'v'}-{wanted.space}")[:80]
        self.old = open_index(address, generation=previous)
        self.new = index.begin_generation(name, wanted)
        self.report = MigrationReport(previous, name, wanted)

    def copy(self, batch_size: int, commit: int, threads: int) -> bool:
        """Embed what the new generation lacks or has otherwise; returns whether there was anything."""
        there = dict(_stamps(self.new, retried=True))
        wanted = dict(_stamps(self.old))
        waiting = sorted(id_ for id_, stamp in wanted.items() if there.get(id_) != stamp)
        self.report.total, self.report.done = len(wanted), len(wanted) - len(waiting)
        rows: list[Row] = []
        images = self._images(waiting)
        try:
            for batch in embedded_rows(self._client, images, batch_size=batch_size, threads=threads):
                rows += batch.rows
                self.report.done += len(batch.rows)
                self.report.embedded += batch.embedded
                self.report.failed += sum(bool(row.error_code) for row in batch.rows)
                if len(rows) >= commit:
                    self._commit(rows)
                    rows = []
                self._tell()
        finally:
            self._commit(rows)
        gone = [id_ for id_ in there if id_ not in wanted]
        if gone:
            self.new.delete(gone)
        return bool(waiting or gone)

    def _images(self, ids: list[str]) -> Iterator[Callable[[], Prepared]]:
        for start in range(0, len(ids), _AT_ONCE):
            for row in self.old.get(ids[start : start + _AT_ONCE], columns=(*DETAILS, "thumbnail")):
                if row is not None:  # Else it was dropped meanwhile.
                    yield functools.partial(_read_again, row, self._read)

    def _commit(self, rows: list[Row]) -> None:
        if rows:
            self.new.upsert(rows, space=self.report.settings.space)

    def _tell(self) -> None:
        self.report.seconds = time.monotonic() - self._began
        if self._progress is not None:
            self._progress(replace(self.report))


def _read_again(row: Row, read: Callable[[Row], bytes]) -> Prepared:
    """A row of the old generation with its image, as it is to be in the new one."""
    try:
        data = read(row)
    except EntryUnreadable as error:
        code, message = row.error_code or error.code, row.error_message or clean_text(error.message)
        return Prepared(replace(row, error_code=code, error_message=message), None)
    row = replace(row, error_code="", error_message="")
    # Where the file is another one by now, its old fingerprint makes the next `add` look at it again.
    return Prepared(row if row.checksum == checksum_of(data) else described(row, data), data)


def _stamps(generation: Index, *, retried: bool = False) -> Iterator[tuple[str, int | None]]:
    """By id, what changes when a row does; with `retried` None of those that are to be tried again."""
    columns = ("fingerprint", "checksum", "caption", "metadata", "error_code")
    for rows in generation.scan(columns=columns):
        for row in rows:
            known = (row.fingerprint or row.checksum, row.caption, repr(row.metadata))
            yield row.id, None if retried and row.error_code in RETRIED else hash(known)


def _settings(client: Client, old: Settings) -> Settings:
    found = client.embed_texts(["babelclip"])
    return replace(
        old,
        space=found.space,
        dim=found.dim,
        logit_scale=found.logit_scale,
        version=found.version,
        preprocessing="",
    )


def _judge(report: MigrationReport, allow_missing: bool, min_recall: float) -> None:
    proof = report.proof
    assert proof is not None
    if proof.rows != proof.old_rows:
        raise MigrationIncomplete(
            f"the new generation has {proof.rows} rows, the old one {proof.old_rows}: run it again", report
        )
    if proof.missing and not allow_missing:
        first = proof.missing[0]
        raise MigrationIncomplete(
            f"{len(proof.missing)} rows would lose their vectors, the first {first.path}: {first.code}:"
            f" {first.message}; bring their images back and run it again, or allow them to be missing",
            report,
        )
    if proof.recall is not None and proof.recall < min_recall:
        raise MigrationIncomplete(
            f"only {proof.recall:.0%} of {proof.queries} golden queries find their rows among the first ten,"
            f" and {min_recall:.0%} must",
            report,
        )


def _wait_for_adders(held: ExitStack, address: str) -> None:
    """Take the index for this migration alone, when those who add to it have ended.

    Raises:
        IndexBusy: they go on for too long; the next run goes on where this one stopped.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            held.enter_context(alone(address))
        except IndexBusy:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
        else:
            return
