"""Where an index is: an address, and the engine that it names.

photographs.index, /data/photographs    LanceDB in a folder
s3://bucket/photographs, gs://…, az://…    LanceDB in an object store
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from babelclip.index.base import Index, Settings
from babelclip.index.errors import SearchIndexError
from babelclip.index.lance import LanceIndex
from babelclip.index.lance_generations import TABLE

STORES = ("s3", "gs", "az")
"""Of addresses: the object stores that LanceDB keeps an index in."""


def check_address(address: str | os.PathLike[str]) -> str:
    """The address of an index, as it was given.

    Raises:
        SearchIndexError: no engine keeps an index there, or the one that does is not installed.
    """
    plain = os.fspath(address)
    if "://" in plain and not plain.lower().startswith(tuple(f"{store}://" for store in STORES)):
        stores = ", ".join(f"{store}://" for store in STORES)
        raise SearchIndexError(f"no index can be kept at {plain!r}: give a folder, or {stores}BUCKET/NAME")
    if importlib.util.find_spec("lancedb") is None:
        raise SearchIndexError("an index needs LanceDB: pip install 'babelclip[search]'")
    return plain


def is_index(address: str) -> bool:
    """Whether an address is one of an index: in an object store, or a folder that holds one."""
    return "://" in address or (Path(address) / f"{TABLE}.lance").is_dir()


def create_index(address: str | os.PathLike[str], settings: Settings) -> Index:
    """A new, empty index whose first generation has these settings.

    Raises:
        IndexExists: there is one.
        ValueError: settings or address cannot be used.
        SearchIndexError: the engine cannot be reached, or is not installed.
    """
    return LanceIndex.create(check_address(address), settings)


def open_index(address: str | os.PathLike[str], *, generation: str | None = None) -> Index:
    """The index at an address: its current generation, whichever that is at each call, or the one named.

    Raises:
        IndexNotFound: there is none, or no generation of that name.
        SearchIndexError: the engine cannot be reached, or is not installed.
    """
    return LanceIndex.open(check_address(address), generation=generation)
