"""The file of keys on the disk: read, and changed by one process at a time, whole or not at all.

A key is 256 random bits, so that one round of SHA-256 hides it as well as a slow hash would, and costs a
request nothing.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from babelclip.atomic_files import alone_in, replacing
from babelclip.keys.entries import (
    ALL_COLLECTIONS,
    DEFAULT_SCOPES,
    NO_LIMITS,
    SCOPES,
    Key,
    Limits,
    Scope,
    check_collections,
    check_name,
    parse,
    render,
    written,
)

DEFAULT_FILE = ".run/gateway/keys.json"
_PREFIX = "bck_"  # by which a scanner for leaked secrets knows one


class KeysError(ValueError):
    """The file of keys cannot be used or changed; the message never holds a key."""


def digest_of(secret: str) -> bytes:
    """What the file has of a key; of anything that a caller may present, too."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def load(path: Path) -> list[Key]:
    """The keys of a file.

    Raises:
        KeysError: it cannot be read, or is none of keys.
    """
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise KeysError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise KeysError(f"{path}: {error}") from error


def add(
    path: Path,
    name: str,
    *,
    scopes: Sequence[Scope] = DEFAULT_SCOPES,
    expires: datetime | None = None,
    limits: Limits = NO_LIMITS,
    collections: Sequence[str] = ALL_COLLECTIONS,
) -> str:
    """Make a key, and the file if there is none → the key, which stands nowhere else.

    Raises:
        KeysError: the name is taken or none, a collection cannot be called so, or the file cannot be changed.
    """
    try:
        check_name(name)
        allowed = check_collections(collections)
    except ValueError as error:
        raise KeysError(str(error)) from None
    now = datetime.now(UTC)
    if expires is not None and expires <= now:
        raise KeysError(f"a key that expires on {written(expires)} would be of no use: that is over")
    secret = _PREFIX + secrets.token_urlsafe(32)
    ordered = tuple(scope for scope in SCOPES if scope in scopes)
    key = Key(name, digest_of(secret), written(now), ordered, expires, limits, allowed)

    def added(keys: list[Key]) -> list[Key]:
        if any(other.name == name for other in keys):
            raise KeysError(f"there is a key of the name {name}; revoke it first, or take another name")
        return [*keys, key]

    _change(path, added)
    return secret


def revoke(path: Path, name: str) -> None:
    """Take a key away.

    Raises:
        KeysError: there is none of that name, or the file cannot be changed.
    """

    def without(keys: list[Key]) -> list[Key]:
        rest = [key for key in keys if key.name != name]
        if len(rest) == len(keys):
            raise KeysError(f"there is no key of the name {name}")
        return rest

    _change(path, without)


def _change(path: Path, change: Callable[[list[Key]], list[Key]]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with alone_in(path.parent):
            keys = change(load(path) if path.exists() else [])
            with replacing(path) as (partial,):
                # Readable by its owner alone from the first byte on.
                descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(render(keys))
    except OSError as error:
        raise KeysError(f"cannot change {path}: {error.strerror}") from error
