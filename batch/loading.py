"""Rows of outputs into an index by their ids, so that none is there twice, however often they are loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from pyarrow import parquet

from babelclip.index import Index, IndexNotFound, Row, Settings, create_index, open_index
from babelclip.ingest.locks import changing
from babelclip.ingest.metadata import fit_metadata
from babelclip.ingest.rows import with_room
from batch.jobs import require
from batch.output import OWN, parts, read_metadata
from batch.storage.base import Storage

_ROWS = 4096  # of a commit; a commit is a version of the index's table
_COMPACTED_AFTER = 20  # commits
_log = logging.getLogger(__name__)


def load(storage: Storage, address: str, collection: str = "") -> int:
    """Load what is there; the index is made where there is none.

    A row that is too large for the index is there with an error instead of what is large, and one whose id is
    too long not at all; the log names those.

    Args:
        collection: of the rows; the path or address of the output unless given.

    Returns:
        Rows that were written, those without a vector among them.

    Raises:
        SpaceMismatch: the index is of another space.
        SearchIndexError: the index cannot be opened, or another process is at its last step.
        JobError, OSError, ValueError: there is no job, or an output cannot be read.
    """
    made = require(storage)
    collection = collection or storage.address
    count = commits = 0
    with _opened(storage, address) as index, changing(index.info().address):
        for name in parts(storage):
            for rows in _rows(storage, name, collection, index.settings):
                kept = list(_with_room(rows, index.size_check()))
                index.upsert(kept, space=made.job.identity.space)
                count += len(kept)
                commits += 1
        if commits >= _COMPACTED_AFTER:
            index.compact()
    return count


def _with_room(rows: list[Row], why_too_large: Callable[[Row], str]) -> Iterator[Row]:
    for row in rows:
        kept = with_room(row, why_too_large)
        if kept is not row and (why := why_too_large(kept)):
            _log.warning("a row is left out: %s", why)
        else:
            yield kept


def _opened(storage: Storage, address: str) -> Index:
    try:
        return open_index(address)
    except IndexNotFound:
        first = next(parts(storage), None)
        if first is None:
            raise ValueError(f"{storage.address} has no output yet") from None
        said = read_metadata(storage, first)
        return create_index(
            address,
            Settings(
                space=said["space"], dim=said["dim"], version=said["version"], logit_scale=said["logit_scale"]
            ),
        )


def _rows(storage: Storage, name: str, collection: str, settings: Settings) -> Iterator[list[Row]]:
    checksum = read_metadata(storage, name)["checksum"][:16]
    with storage.reading(name) as opened, parquet.ParquetFile(opened) as file:
        for batch in file.iter_batches(_ROWS):
            # The last of those that have an id: an index refuses none, and keeps that.
            yield list(
                {one["id"]: _row(one, collection, checksum, settings) for one in batch.to_pylist()}.values()
            )


def _row(found: dict[str, Any], collection: str, checksum: str, settings: Settings) -> Row:
    raw = {name: value for name, value in found.items() if name not in OWN and value is not None}
    metadata, _ = fit_metadata(raw, settings.fields)
    vector = found["vector"]
    return Row(
        id=found["id"],
        vector=None if vector is None else np.asarray(vector, dtype=np.float32),
        source=found["source"],
        collection=collection,
        fingerprint=f"batch-{checksum}",
        caption=found["caption"] or "",
        metadata=metadata,
        error_code=found["error"] or "",
        error_message=found["message"] or "",
    )
