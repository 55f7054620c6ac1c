"""The image of a row again, by its source."""

from __future__ import annotations

from collections.abc import Callable

from babelclip.errors import INVALID_ITEM
from babelclip.index import Row
from babelclip.ingest.sources.addresses import is_web_address, not_allowed
from babelclip.ingest.sources.base import EntryUnreadable, named_path, read_path
from babelclip.ingest.sources.object_store import is_store, read_object
from babelclip.ingest.sources.webdataset import read_member


def read_row(row: Row, *, fetch: Callable[[str], bytes] = not_allowed) -> bytes:
    """The encoded image that a row is of.

    Args:
        fetch: gives what is at an address on the Web, as an `AddressReader` does; nothing is fetched
            without it.

    Raises:
        EntryUnreadable: it is not there any more, or is no image that can be read by its source alone.
    """
    if row.kind != "image":
        raise EntryUnreadable(INVALID_ITEM, f"a row of the kind {row.kind} cannot be read as an image")
    if is_web_address(row.source):
        return fetch(row.source)
    if is_store(row.source):
        return read_object(row.source)
    shard, hash_, member = row.source.partition(".tar#")
    path = named_path(row.source)
    if hash_ and not path.exists():
        return read_member(named_path(shard + ".tar"), member)
    return read_path(path)
