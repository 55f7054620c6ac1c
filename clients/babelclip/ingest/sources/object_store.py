"""The images of an object store, such as s3://bucket/photographs, by fsspec."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from babelclip.client.calls import LARGEST_MESSAGE
from babelclip.errors import IMAGE_TOO_MANY_BYTES, UNREADABLE_FILE
from babelclip.ingest.sources.base import Entry, EntryUnreadable
from babelclip.search.folder import SUFFIXES, Skipped

PROTOCOLS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")
"""Of the stores; each but `memory` needs its package, such as s3fs. Web addresses are none."""


def is_store(place: str) -> bool:
    """Whether an address is of such a store."""
    return place.partition("://")[0] in PROTOCOLS and "://" in place and "::" not in place


class ObjectStoreSource:
    """All images below an address; each is named by its own.

    Raises:
        ValueError: the address is of no such store.
        ImportError: fsspec, or the package for the store, is not installed.
    """

    def __init__(self, address: str, *, name: str = "") -> None:
        self._address = address
        self._name = name
        self._system, self._root = _opened(address)

    @property
    def collection(self) -> str:
        """The name that was given, or the address."""
        return self._name or self._address

    def total(self) -> int | None:
        """It shows at the end."""
        return None

    def entries(self) -> Iterator[Entry]:
        """By address; entity tag, or size and time, are the fingerprint."""
        found: dict[str, dict[str, Any]] = self._system.find(self._root, detail=True)
        for path in sorted(found):
            if PurePosixPath(path).suffix.lower() not in SUFFIXES:
                continue
            details = found[path]
            tag = next(
                (details[key] for key in ("ETag", "etag", "md5Hash") if details.get(key)),
                details.get("LastModified") or details.get("mtime") or details.get("created") or "",
            )
            size = int(details.get("size") or 0)
            read = functools.partial(_read, self._system, path, size)
            yield Entry(str(self._system.unstrip_protocol(path)), f"{size}-{tag}", read)

    def skipped(self) -> Sequence[Skipped]:
        """Nothing: a store is listed as a whole."""
        return ()

    def could_list(self, source: str) -> bool:
        """Always."""
        return True


def read_object(address: str) -> bytes:
    """The bytes at an address of a store.

    Raises:
        EntryUnreadable: there are none.
    """
    try:
        system, path = _opened(address)
        return _read(system, path, int(system.size(path) or 0))
    except (OSError, ImportError, ValueError) as error:
        raise EntryUnreadable(UNREADABLE_FILE, f"cannot read {address}: {error}") from error


def _read(system: Any, path: str, size: int) -> bytes:
    if size > LARGEST_MESSAGE:
        raise EntryUnreadable(IMAGE_TOO_MANY_BYTES, f"the image has {size:,} bytes")
    try:
        return bytes(system.cat_file(path))
    except OSError as error:
        raise EntryUnreadable(UNREADABLE_FILE, f"cannot read {path}: {error}") from error


def _opened(address: str) -> tuple[Any, str]:
    if not is_store(address):
        raise ValueError(f"{address} is of no object store; there are {', '.join(PROTOCOLS)}")
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ImportError("object stores need fsspec: pip install 'babelclip[search]'") from error
    system, path = url_to_fs(address)
    return system, str(path)
