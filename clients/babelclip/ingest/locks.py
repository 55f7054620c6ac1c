"""One writer at a time: locks that end with the process that holds them, however it ends.

What is added to an index holds the lock of its collection, and shares that of the index, which a migration
takes for itself while it makes another generation current. They lie in the folder of the index; of an index
in an object store or a server they lie on this machine, and keep its processes apart, not those of others.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from babelclip.index import IndexBusy, place_of

_FOLDER = ".locks"
_STATE_DIR = "BABELCLIP_STATE_DIR"


@contextmanager
def adding(address: str, collection: str) -> Iterator[None]:
    """Held while rows of a collection are added or dropped.

    Raises:
        IndexBusy: another process adds to this collection, or a migration is at its last step.
        OSError: there can be no lock in the folder.
    """
    busy = f"another process adds the collection {collection} to the index at {address}"
    with changing(address), _lock(address, "collection\0" + collection, busy):
        yield


@contextmanager
def changing(address: str) -> Iterator[None]:
    """Held while rows are added or deleted otherwise: any number may do so at once.

    Raises:
        IndexBusy: a migration is at its last step, and what is written now would be left behind.
        OSError: there can be no lock in the folder.
    """
    busy = f"a migration of the index at {address} is at its last step: ask again when it is done"
    with _lock(address, "index", busy, shared=True):
        yield


@contextmanager
def migrating(address: str) -> Iterator[None]:
    """Held by a migration from its beginning to its end; rows may be added meanwhile.

    Raises:
        IndexBusy: another process migrates the index.
        OSError: there can be no lock in the folder.
    """
    with _lock(address, "migration", f"another process migrates the index at {address}"):
        yield


@contextmanager
def alone(address: str) -> Iterator[None]:
    """Held while nothing may be added to any collection.

    Raises:
        IndexBusy: another process adds to the index.
        OSError: there can be no lock in the folder.
    """
    with _lock(address, "index", f"another process adds to the index at {address}"):
        yield


@contextmanager
def _lock(address: str, what: str, busy: str, *, shared: bool = False) -> Iterator[None]:
    path = _folder(address) / f"{hashlib.sha256(what.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not _taken(descriptor, shared):
            raise IndexBusy(busy)
        yield
    finally:
        os.close(descriptor)


def _folder(address: str) -> Path:
    if Path(address).is_dir():
        return Path(address) / _FOLDER
    state = os.environ.get(_STATE_DIR)
    cache = os.environ.get("XDG_CACHE_HOME")
    base = Path(state) if state else (Path(cache) if cache else Path.home() / ".cache") / "babelclip"
    return base / "locks" / hashlib.sha256(place_of(address).encode()).hexdigest()[:16]


def _taken(descriptor: int, shared: bool) -> bool:
    """Whether nobody else has the lock; it is given back when the file is closed."""
    if sys.platform == "win32":
        import msvcrt  # It knows no shared locks: there, adding to two collections takes turns.

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
