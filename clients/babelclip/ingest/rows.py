"""What is known of an entry before it is embedded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from babelclip.errors import IMAGE_UNDECODABLE, INVALID_ITEM
from babelclip.index import Row
from babelclip.ingest.images import EMPTY_ITEM, ImageUnreadable, checksum_of, describe_image
from babelclip.ingest.metadata import clean_text, fit_metadata
from babelclip.ingest.pipeline import Prepared
from babelclip.ingest.sources.base import Entry, EntryUnreadable

_SHOWN = 1000  # characters of a message or a source that is kept of a row that is too large


def prepared(
    entry: Entry, id_: str, collection: str, fields: Mapping[str, str], before: Row | None
) -> Prepared:
    """An entry, read and described; what is wrong with it is in its row.

    An image of which nothing can be said here may yet be embedded: the model may know a format that is not
    known here.

    Args:
        fields: the declared fields of the index.
        before: its row of an earlier run, whose vector is taken where the image is the same.
    """
    metadata, wrong = fit_metadata(entry.metadata, fields)
    row = Row(
        id=id_,
        source=clean_text(entry.source),
        collection=collection,
        fingerprint=entry.fingerprint,
        caption=clean_text(entry.caption),
        metadata=metadata,
    )
    try:
        data = entry.read()
    except EntryUnreadable as error:
        return Prepared(_failed(row, error.code, error.message), None)
    except (OSError, ValueError) as error:
        return Prepared(_failed(row, IMAGE_UNDECODABLE, f"it cannot be read: {error}"), None)
    row = described(row, data)
    if wrong:
        return Prepared(_failed(row, INVALID_ITEM, wrong), None)
    if not data:
        return Prepared(_failed(row, EMPTY_ITEM, "the image has no bytes"), None)
    if before is not None and before.vector is not None and before.checksum == row.checksum:
        return Prepared(replace(row, vector=before.vector), None)
    return Prepared(row, data)


def with_room(row: Row, why_too_large: Callable[[Row], str]) -> Row:
    """The row; or, where it is too large for an index, one that says so, without what is large.

    Args:
        why_too_large: as `Index.size_check` gives it.
    """
    why = why_too_large(row)
    if not why:
        return row
    code, message = row.error_code or INVALID_ITEM, (row.error_message or why)[:_SHOWN]
    row = replace(row, caption="", metadata={}, thumbnail=b"", vector=None, error_code=code)
    row = replace(row, error_message=message)
    return replace(row, source=row.source[:_SHOWN]) if why_too_large(row) else row


def prepared_with_room(prepare: Callable[[], Prepared], why_too_large: Callable[[Row], str]) -> Prepared:
    """What `prepare` gives; the image of a row that is too large for the index need not be embedded."""
    made = prepare()
    row = with_room(made.row, why_too_large)
    return made if row is made.row else Prepared(row, None)


def described(row: Row, data: bytes) -> Row:
    """The row with what its image says of itself, as far as that can be read."""
    row = replace(row, size=len(data), checksum=checksum_of(data))
    try:
        details = describe_image(data)
    except ImageUnreadable:
        return row
    return replace(
        row,
        width=details.width,
        height=details.height,
        taken=details.taken,
        thumbnail=details.thumbnail,
        perceptual_hash=details.perceptual_hash,
    )


def _failed(row: Row, code: str, message: str) -> Row:
    return replace(row, error_code=code, error_message=clean_text(message))
