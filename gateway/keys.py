"""The callers' keys: named, and kept as hashes in a file that is the same for every replica.

    python -m gateway.keys add shop          prints the new key, once
    python -m gateway.keys list | revoke shop        --file FILE says where they are

The file is JSON, {"keys": [{"name": "shop", "sha256": "…", "created": "2026-01-31T12:00:00Z"}]}. A running
gateway takes a change with the next request. A key is 256 random bits, so that one round of SHA-256 hides it
as well as a slow hash would, and costs a request nothing.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DEFAULT_FILE = ".run/gateway/keys.json"
_PREFIX = "bck_"  # by which a scanner for leaked secrets knows one
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_FIELDS = {"name", "sha256", "created"}
_log = logging.getLogger(__name__)

FindKey = Callable[[str], str | None]
"""A key → the name of the caller, None for a key that is none."""


class KeysError(ValueError):
    """The file of keys cannot be used or changed; the message never holds a key."""


@dataclass(frozen=True)
class Key:
    """A caller: a name for people and metrics, and the SHA-256 of the secret."""

    name: str
    digest: bytes
    created: str


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
        self._keys = load(self._path)

    def find(self, presented: str) -> str | None:
        """The name of the key that this is; None if it is none. Takes as long for any wrong key."""
        self._renew()
        digest = hashlib.sha256(presented.encode("utf-8", "surrogatepass")).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key.name
        return found

    def _renew(self) -> None:
        signature = _signature(self._path)
        if signature == self._seen:
            return
        self._seen = signature
        try:
            self._keys = load(self._path)
        except KeysError as error:
            _log.warning("the keys that were read last stay in force: %s", error)
        else:
            _log.info("read %d keys from %s", len(self._keys), self._path)


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


def parse(data: bytes) -> list[Key]:
    """The content of a file of keys.

    What is unknown is refused: an entry with a limit that this version does not know would have none.

    Raises:
        ValueError: it is none of keys; the message quotes no hash.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(content, dict) or set(content) != {"keys"} or not isinstance(content["keys"], list):
        raise ValueError('it must be {"keys": [{"name": "…", "sha256": "…", "created": "…"}, …]}')
    found: list[Key] = []
    for place, entry in enumerate(content["keys"]):
        key = _entry(entry, f"keys[{place}]")
        if any(key.name == other.name for other in found):
            raise ValueError(f"keys[{place}]: there are two keys of the name {key.name}")
        found.append(key)
    return found


def _entry(entry: Any, where: str) -> Key:
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise ValueError(f"{where} must be an object of strings")
    if missing := _FIELDS - set(entry):
        raise ValueError(f"{where} has no {min(missing)}")
    if extra := set(entry) - _FIELDS:
        raise ValueError(f"{where}: this version knows no {min(extra)!r}")
    if not _NAME.fullmatch(entry["name"]):
        raise ValueError(f"{where}: a name has up to 64 letters, digits and . _ -")
    if not re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]):
        raise ValueError(f"{where}: sha256 must be 64 hexadecimal digits in lower case")
    return Key(entry["name"], bytes.fromhex(entry["sha256"]), entry["created"])


def add(path: Path, name: str) -> str:
    """Make a key, and the file if there is none → the key, which stands nowhere else.

    Raises:
        KeysError: the name is taken or none, or the file cannot be changed.
    """
    if not _NAME.fullmatch(name):
        raise KeysError(f"{name!r} is no name of a key: up to 64 letters, digits and . _ -")
    secret = _PREFIX + secrets.token_urlsafe(32)
    digest = hashlib.sha256(secret.encode()).digest()
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def added(keys: list[Key]) -> list[Key]:
        if any(key.name == name for key in keys):
            raise KeysError(f"there is a key of the name {name}; revoke it first, or take another name")
        return [*keys, Key(name, digest, created)]

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
        with _alone(path.parent):
            keys = change(load(path) if path.exists() else [])
            _write(path, keys)
    except OSError as error:
        raise KeysError(f"cannot change {path}: {error.strerror}") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process changes a file of keys in this folder meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, keys: list[Key]) -> None:
    """Put the keys in the place of the file, whole or not at all, readable by its owner alone."""
    entries = [{"name": key.name, "sha256": key.digest.hex(), "created": key.created} for key in keys]
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"keys": entries}, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m gateway.keys", description="Who may call the gateway.")
    parser.add_argument("--file", type=Path, default=Path(DEFAULT_FILE), help=f"default: {DEFAULT_FILE}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("add", help="make a key and print it, once").add_argument("name")
    commands.add_parser("list", help="names, and when each key was made")
    commands.add_parser("revoke", help="take a key away").add_argument("name")
    given = parser.parse_args(arguments)
    try:
        if given.command == "add":
            print(add(given.file, given.name))
        elif given.command == "revoke":
            revoke(given.file, given.name)
        else:
            for key in load(given.file):
                print(f"{key.name}\t{key.created}")
    except KeysError as error:
        print(f"gateway.keys: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
