"""Calls of LanceDB: connecting, commits that meet those of other processes, and what its errors say."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from babelclip.index.errors import IndexBusy
from babelclip.index.lance.importing import import_lancedb

if TYPE_CHECKING:
    import lancedb

T = TypeVar("T")

ATTEMPTS = 20
LONGEST_WAIT = 1.0  # second between two attempts


async def connect(address: str) -> lancedb.AsyncConnection:
    """The database at an address.

    Raises:
        SearchIndexError: LanceDB is not installed, or cannot use the address.
    """
    # Each call sees what other processes committed before it.
    connecting = import_lancedb().connect_async(address, read_consistency_interval=timedelta(0))
    database: lancedb.AsyncConnection = await connecting
    return database


async def committed(call: Callable[[], Awaitable[T]]) -> T:
    """The result of a call that commits, made again where another process's commit got in its way.

    LanceDB retries much of this on its own, but not all: a compaction, or the building of an index, is given
    up when rows under it were deleted.

    Raises:
        IndexBusy: that happened time and again.
    """
    for attempt in range(ATTEMPTS):
        try:
            return await call()
        except (OSError, RuntimeError, ValueError) as error:
            if not _is_conflict(error):
                raise
            reason = error
            await asyncio.sleep(random.uniform(0.5, 1.0) * min(LONGEST_WAIT, 0.02 * 2**attempt))
    raise IndexBusy(f"other processes changed the index {ATTEMPTS} times meanwhile: {first_line(reason)}")


def _is_conflict(error: Exception) -> bool:
    text = str(error).lower()
    return "conflict" in text or "preempted" in text or "too many concurrent" in text


def first_line(error: Exception) -> str:
    """What an error of LanceDB's says, without the places in its source code that it names."""
    lines = str(error).splitlines() or [type(error).__name__]
    return re.split(r",? \S*\.rs:\d+", lines[0])[0]
