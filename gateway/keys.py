"""The callers' keys as the gateway asks for them: read from their file, and read again when it changes.

`babelclip keys` changes the file (`babelclip.keys`), which is the same for every replica. A running gateway
takes a change with the next request.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from babelclip.keys.entries import (
    ALL_COLLECTIONS,
    DEFAULT_SCOPES,
    NO_LIMITS,
    Key,
    Limits,
    Scope,
    written,
)
from babelclip.keys.file import KeysError, add, digest_of, load

__all__ = ["Caller", "FindKey", "KeyExpired", "KeyFile", "KeysError", "add"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caller:
    """Who a key says that a caller is, and what it lets it do."""

    name: str
    scopes: tuple[Scope, ...] = DEFAULT_SCOPES
    limits: Limits = NO_LIMITS
    collections: tuple[str, ...] = ALL_COLLECTIONS


FindKey = Callable[[str], Caller | None]
"""A key → the caller, None for a key that is none; raises `KeyExpired` for one that was one."""


class KeyExpired(Exception):
    """The key is a caller's, but its time is over; the message says since when."""


class KeyFile:
    """Who may call, as a file says; a change of the file holds from the next question on.

    A file that is broken or gone leaves those in force that were read last, and a warning in the log: a half
    written file shuts nobody out.

    Raises:
        KeysError: there is no file to begin with, or it is none of keys.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._seen = _signature(self._path)
        self._read()

    def find(self, presented: str) -> Caller | None:
        """Whose key this is; None if it is none. Takes as long for any wrong key.

        Raises:
            KeyExpired: it is one no more.
        """
        self._renew()
        digest = digest_of(presented)
        found = None
        for key, caller in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key, caller
        if found is None:
            return None
        key, caller = found
        if key.expires is not None and key.expires <= datetime.now(UTC):
            raise KeyExpired(f"the key expired on {written(key.expires)}")
        return caller

    def entries(self) -> list[Key]:
        """All keys, those that have expired too."""
        self._renew()
        return [key for key, _ in self._keys]

    def _renew(self) -> None:
        signature = _signature(self._path)
        if signature == self._seen:
            return
        self._seen = signature
        try:
            self._read()
        except KeysError as error:
            _log.warning("the keys that were read last stay in force: %s", error)
        else:
            _log.info("read %d keys from %s", len(self._keys), self._path)

    def _read(self) -> None:
        self._keys = [
            (key, Caller(key.name, key.scopes, key.limits, key.collections)) for key in load(self._path)
        ]


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
