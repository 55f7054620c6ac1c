"""Where an index is: an address, and the engine that it names.

photographs.index, /data/photographs    LanceDB in a folder
s3://bucket/photographs, gs://…, az://…    LanceDB in an object store
milvus://host:19530/photographs            Milvus; with TLS it is milvus+https://…
photographs.db                             Milvus Lite in a file, for development
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from babelclip.index.base import Index, Settings
from babelclip.index.errors import SearchIndexError
from babelclip.index.lance.generations import TABLE
from babelclip.index.lance.index import LanceIndex
from babelclip.index.milvus.address import is_milvus, parse_address
from babelclip.index.milvus.index import MilvusIndex

STORES = ("s3", "gs", "az")
"""Of addresses: the object stores that LanceDB keeps an index in."""


def check_address(address: str | os.PathLike[str]) -> str:
    """The address of an index, as it was given.

    Raises:
        SearchIndexError: no engine keeps an index there, or the one that does is not installed.
    """
    plain = os.fspath(address)
    if is_milvus(plain):
        file = parse_address(plain).is_file
        for package in ("milvus_lite", "pymilvus") if file else ("pymilvus",):
            _need(package, "an index in Milvus", "milvus-lite" if file else "milvus")
        return plain
    if "://" in plain and not plain.lower().startswith(tuple(f"{store}://" for store in STORES)):
        stores = ", ".join(f"{store}://" for store in STORES)
        scheme = plain.partition("://")[0]  # The rest may hold a password.
        raise SearchIndexError(
            f"no index can be kept at {scheme}://…: give a folder, {stores}BUCKET/NAME or milvus://HOST:PORT/NAME"
        )
    _need("lancedb", "an index", "search")
    return plain


def place_of(address: str) -> str:
    """Of addresses of the same place always the same text, such as for `photographs` and `./photographs/`."""
    if is_milvus(address):
        parsed = parse_address(address)
        return "/".join(
            ("milvus", parsed.uri.partition("://")[2] or parsed.uri, parsed.database, parsed.name)
        )
    if "://" in address:
        scheme, _, rest = address.partition("://")
        return f"{scheme.lower()}://{rest.rstrip('/')}"
    return os.path.realpath(address)


def _need(package: str, what: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise SearchIndexError(f"{what} needs {package}: pip install 'babelclip[{extra}]'")


def is_index(address: str) -> bool:
    """Whether an address is one of an index: in a server or an object store, or a folder that holds one."""
    if is_milvus(address) and "://" not in address:
        return Path(address).exists()
    return "://" in address or (Path(address) / f"{TABLE}.lance").is_dir()


def create_index(address: str | os.PathLike[str], settings: Settings) -> Index:
    """A new, empty index whose first generation has these settings.

    Raises:
        IndexExists: there is one.
        ValueError: settings or address cannot be used.
        SearchIndexError: the engine cannot be reached, or is not installed.
    """
    plain = check_address(address)
    return (MilvusIndex if is_milvus(plain) else LanceIndex).create(plain, settings)


def open_index(address: str | os.PathLike[str], *, generation: str | None = None) -> Index:
    """The index at an address: its current generation, whichever that is at each call, or the one named.

    Raises:
        IndexNotFound: there is none, or no generation of that name.
        SearchIndexError: the engine cannot be reached, or is not installed.
    """
    return _open(address, generation)


def drop_index(address: str | os.PathLike[str]) -> None:
    """Delete an index with all its generations.

    Raises:
        IndexNotFound: there is none.
        SearchIndexError: the engine cannot be reached, or is not installed.
    """
    with _open(address) as index:
        index.drop()


def _open(address: str | os.PathLike[str], generation: str | None = None) -> LanceIndex | MilvusIndex:
    plain = check_address(address)
    return (MilvusIndex if is_milvus(plain) else LanceIndex).open(plain, generation=generation)
