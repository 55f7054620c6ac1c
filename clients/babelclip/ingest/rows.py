"""What is known of an entry before it is embedded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from babelclip.errors import IMAGE_UNDECODABLE, INVALID_ITEM
from babelclip.index import Row
from babelclip.ingest.images import EMPTY_ITEM, ImageUnreadable, checksum_of, describe_image
from babelclip.ingest.metadata import clean_text, fit_metadata
from babelclip.ingest.pipeline import Prepared
from babelclip.ingest.sources.base import Entry, EntryUnreadable


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
