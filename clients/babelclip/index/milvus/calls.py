"""Calls of Milvus: connecting, what a server is able to do, and what its errors say."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from babelclip.index.errors import SearchIndexError
from babelclip.index.milvus.address import TOKEN, MilvusAddress
from babelclip.index.milvus.filters import listed, literal

if TYPE_CHECKING:
    from pymilvus import MilvusClient

MOST = 16_384
"""Rows that Milvus gives for one query or search, those that are left out at the beginning counted."""

STRONG, SESSION = "Strong", "Session"
"""Consistency: sees what anybody wrote before, for which Milvus waits for its time tick, or what we wrote."""

_CONNECT = 10.0  # seconds
_INFIX_SINCE = (2, 4)  # the server's version that compares with `like "%middle%"`
_UNAVAILABLE = 2  # pymilvus's code, for a wrong token, too
_MISSING = (100, 1600)  # Milvus's codes: there is no such collection, alias


@dataclass(frozen=True)
class Server:
    """A connection, which several threads may use.

    Attributes:
        infix: whether it looks for a text inside of others.
        lite: whether it is Milvus Lite, in this process.
    """

    client: MilvusClient
    infix: bool
    lite: bool


def connect(address: MilvusAddress) -> Server:
    """The server of an address; a token is taken from the environment.

    Raises:
        SearchIndexError: it does not answer, or does not know the token.
    """
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    # They log each call that fails before they raise, and what is wrong is said by who called.
    for name in ("pymilvus", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    token = "" if address.is_file else os.environ.get(TOKEN, "")
    try:
        client = MilvusClient(uri=address.uri, token=token, db_name=address.database, timeout=_CONNECT)
    except MilvusException as error:
        if address.is_file:
            raise SearchIndexError(
                f"{address.uri} cannot be opened: Milvus Lite serves one process, and another may have it"
            ) from error
        if error.code != _UNAVAILABLE:
            raise
        raise SearchIndexError(
            f"the Milvus at {address.uri} does not answer, or not to the token in {TOKEN}"
        ) from error
    version = str(client.get_server_version())
    lite = "lite-" in version  # `milvus_lite-3.2.2`; the server in a package is `v2.3.5-lite`
    numbers = tuple(int(one) for one in re.findall(r"\d+", version)[:2])
    return Server(client, lite or numbers >= _INFIX_SINCE, lite)


def count(client: MilvusClient, collection: str, expression: str, consistency: str = STRONG) -> int:
    """The rows that an expression keeps."""
    (counted,) = client.query(
        collection, filter=expression, output_fields=["count(*)"], consistency_level=consistency
    )
    return int(counted["count(*)"])


def pages(
    client: MilvusClient, collection: str, expression: str, names: Sequence[str], size: int, after: str = ""
) -> Iterator[list[dict[str, Any]]]:
    """What an expression keeps, in the order of the ids: of more rows Milvus gives the first ones in it.

    pymilvus's own iterators do the same, with parameters by which Milvus 2.3 gives rows that were deleted.

    Args:
        names: of the columns, of which `id` is one.
        size: of a page, at most `MOST`.
        after: an id; those up to it are left out.
    """
    last, consistency = after, STRONG
    while True:
        found = client.query(
            collection,
            filter=f"id > {literal(last)} and ({expression})",
            output_fields=list(names),
            limit=size,
            consistency_level=consistency,
        )
        if found:
            yield list(found)
        if len(found) < size:
            return
        last, consistency = max(one["id"] for one in found), SESSION


def lite_pages(
    client: MilvusClient, collection: str, expression: str, names: Sequence[str], size: int, after: str = ""
) -> Iterator[list[dict[str, Any]]]:
    """The same of Milvus Lite, which gives any of the rows where there are more than a limit."""
    condition = f"id > {literal(after)} and ({expression})"
    ids = sorted(one["id"] for one in client.query(collection, filter=condition, output_fields=["id"]))
    for begin in range(0, len(ids), size):
        wanted = listed(ids[begin : begin + size])
        yield list(client.query(collection, filter=f"id in {wanted}", output_fields=list(names)))


@contextmanager
def calling(address: str) -> Iterator[None]:
    """What Milvus raises in the block becomes SearchIndexError."""
    import grpc
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, grpc.RpcError, OSError) as error:
        raise SearchIndexError(f"the index at {address} cannot be used: {first_line(error)}") from error


def is_missing(error: Exception) -> bool:
    """Whether an error of Milvus's is that of a collection or an alias that is not there."""
    return getattr(error, "code", None) in _MISSING or "collection not found" in first_line(error)


def first_line(error: Exception) -> str:
    """What an error of Milvus's says, without the calls inside of the server that it lists."""
    text = str(getattr(error, "message", "") or error)
    return (text.splitlines() or [type(error).__name__])[0][:300]
