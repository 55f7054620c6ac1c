"""A path or an address → its storage."""

from __future__ import annotations

import os
from pathlib import Path

from babelclip.ingest.sources.object_store import PROTOCOLS, is_store
from batch.storage.base import Storage
from batch.storage.local import LocalStorage
from batch.storage.remote import ObjectStorage

_MEMORY = "memory"  # fsspec's own, of one process, where workers would write what nobody sees


def open_storage(place: str | Path) -> Storage:
    """A folder, made absolute, or the address of an object store, such as s3://bucket/vectors.

    Raises:
        ValueError: it is neither.
        ImportError: fsspec, or the package for the store, is not installed.
    """
    address = str(place)
    if "://" not in address:
        return LocalStorage(Path(os.path.abspath(address)))
    stores = [one for one in PROTOCOLS if one != _MEMORY]
    if not is_store(address) or address.partition("://")[0] not in stores:
        said = ", ".join(f"{one}://" for one in stores)
        raise ValueError(f"{address} is no place for files: give a folder, or an address of {said}")
    return ObjectStorage(address)
