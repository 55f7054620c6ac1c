"""Addresses of indexes in Milvus: which server, which database, and the name.

milvus://HOST:PORT/NAME             a server, without TLS
milvus+https://HOST:PORT/NAME       with TLS
milvus://HOST:PORT/DATABASE/NAME    in another database than the server's default one
photographs.db                      Milvus Lite, in a file of this machine
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from babelclip.index.errors import SearchIndexError

SCHEMES = {"milvus": "http", "milvus+https": "https"}
TOKEN = "MILVUS_TOKEN"
"""The environment variable with what a server knows the caller by: an API key, or `user:password`."""

_PORT = 19530
_SUFFIX = ".db"
_IN_FILE = "index"  # the name of the one index in a file of Milvus Lite
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}", re.ASCII)


@dataclass(frozen=True)
class MilvusAddress:
    """What an address says.

    Attributes:
        uri: of the server, as pymilvus has it; the path of a file for Milvus Lite.
        database: empty for the default one.
        name: of the index.
    """

    uri: str
    database: str
    name: str

    @property
    def alias(self) -> str:
        """The name as one of Milvus's, which has no `-` and begins with no digit."""
        plain = self.name.replace("-", "__")
        return f"_{plain}" if plain[0].isdigit() else plain

    @property
    def is_file(self) -> bool:
        return "://" not in self.uri


def is_milvus(address: str) -> bool:
    """Whether an address is one of Milvus."""
    scheme, colon, _ = address.partition("://")
    return scheme.lower() in SCHEMES if colon else address.lower().endswith(_SUFFIX)


def parse_address(address: str) -> MilvusAddress:
    """What an address that `is_milvus` says.

    Raises:
        SearchIndexError: something is missing in it, or cannot be there; a password is not repeated.
    """
    if "://" not in address:
        return MilvusAddress(os.path.abspath(address), "", _IN_FILE)
    parts = urlsplit(address)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SearchIndexError(
            "an address of Milvus is milvus://HOST:PORT/NAME and no more: give a token, or user:password,"
            f" in the environment variable {TOKEN}"
        )
    *database, name = parts.path.strip("/").split("/")
    try:
        port = parts.port or _PORT
    except ValueError as error:
        raise SearchIndexError(f"the address {address} has no valid port") from error
    if not parts.hostname or len(database) > 1 or not all(map(_NAME.fullmatch, [*database, name])):
        raise SearchIndexError(
            f"the address {address} must be milvus://HOST:PORT/NAME or milvus://HOST:PORT/DATABASE/NAME,"
            " where names have up to 128 letters, digits, _ and -"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return MilvusAddress(f"{SCHEMES[parts.scheme]}://{host}:{port}", "".join(database), name)


def file_of(address: str) -> Path | None:
    """The file of an index of Milvus Lite; None of one in a server."""
    return None if "://" in address else Path(address)
