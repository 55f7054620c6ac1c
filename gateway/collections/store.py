"""Where collections are: a folder each below the operator's, for all processes that serve them.

    ROOT/NAME/collection.json    what the collection is; written last, so that one without it is none
    ROOT/NAME/index/             the index, unless the operator keeps indexes elsewhere
    ROOT/NAME/uploads/           the originals of uploads, by their checksum
    ROOT/.jobs/                  see `gateway.collections.jobs`

All calls block, and are made in threads.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from babelclip.atomic_files import alone_in, replacing
from babelclip.index import (
    Index,
    IndexNotFound,
    SearchIndexError,
    Settings,
    check_address,
    create_index,
    drop_index,
    open_index,
)
from gateway.collections.names import is_name, not_found
from gateway.errors import COLLECTION_EXISTS, ApiError

_RECORD = "collection.json"
_GONE = ".deleted-"
_Signature = tuple[int, int, int]


@dataclass(frozen=True)
class Record:
    """What stands in collection.json.

    Attributes:
        uid: differs from that of an earlier collection of the same name.
        model: the name that callers use, without a version; the index's settings have that.
        index: the index's address.
        created: seconds since 1970.
    """

    name: str
    uid: str
    model: str
    index: str
    created: float


@dataclass(frozen=True)
class Opened:
    """A collection whose index is open.

    Attributes:
        folder: where its uploads are.
    """

    record: Record
    index: Index
    folder: Path


class Store:
    """All collections below a folder. Safe to use from several threads, and by several processes.

    Args:
        root: the folder; made where there is none.
        indexes: an address of `babelclip.index` below which the indexes are kept, such as `s3://bucket/photos`
            or `milvus://host:19530`; "" for the folder itself.

    Raises:
        OSError: the folder cannot be made.
        ValueError: no index can be kept there, or what keeps it is not installed.
    """

    def __init__(self, root: str | os.PathLike[str], indexes: str = "") -> None:
        self.root = Path(root).resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        self._indexes = indexes.rstrip("/")
        try:
            check_address(f"{indexes.removesuffix('/')}/NAME" if indexes else self.root)
        except SearchIndexError as error:
            raise ValueError(f"there can be no collections: {error}") from error
        self._lock = threading.Lock()
        self._opened: dict[str, tuple[_Signature, Opened]] = {}

    def names(self) -> list[str]:
        """Of all collections, in alphabetical order."""
        found = (entry.name for entry in os.scandir(self.root) if is_name(entry.name))
        return sorted(name for name in found if (self.root / name / _RECORD).is_file())

    def create(self, name: str, model: str, settings: Settings) -> Opened:
        """A new, empty collection.

        Args:
            name: one that `check_name` has let through.

        Raises:
            ApiError: there is one of this name.
            ValueError: the settings cannot be used, such as a field's name.
            SearchIndexError: the index cannot be made.
        """
        folder = self.root / name
        with alone_in(self.root):
            if (folder / _RECORD).exists():
                message = f"there is a collection {name} already"
                raise ApiError(409, COLLECTION_EXISTS, message, param="name")
            if folder.exists():  # Whoever made it was killed before it was one.
                shutil.rmtree(folder)
            folder.mkdir()
            try:
                record = Record(name, secrets.token_hex(8), model, "", time.time())
                record = Record(**{**asdict(record), "index": self._address(record)})
                create_index(record.index, settings).close()
                with replacing(folder / _RECORD) as (partial,):
                    partial.write_text(json.dumps(asdict(record)), encoding="utf-8")
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return self.find(name)

    def find(self, name: str) -> Opened:
        """The collection of a name, as it is now: another process may have made or deleted it.

        Raises:
            ApiError: there is none.
            SearchIndexError: its index cannot be opened.
        """
        if not is_name(name):
            raise not_found(name)
        signature = _signature(self.root / name / _RECORD)
        if signature is None:
            self._forget(name)
            raise not_found(name)
        with self._lock:
            known = self._opened.get(name)
        if known is not None and known[0] == signature:
            return known[1]
        record = self.record(name)
        try:
            opened = Opened(record, open_index(record.index), self.root / name)
        except (FileNotFoundError, IndexNotFound) as error:
            raise not_found(name) from error
        with self._lock:
            self._opened[name] = signature, opened
        return opened

    def record(self, name: str) -> Record:
        """What the collection of a name is, whether or not its index can be opened.

        Raises:
            ApiError: there is none.
        """
        if not is_name(name):
            raise not_found(name)
        try:
            return Record(**json.loads((self.root / name / _RECORD).read_bytes()))
        except FileNotFoundError as error:
            raise not_found(name) from error

    def delete(self, name: str) -> None:
        """Delete a collection with its rows and uploads.

        Raises:
            ApiError: there is none.
        """
        opened = self.find(name)
        with alone_in(self.root):
            gone = self.root / f"{_GONE}{opened.record.uid}"
            try:
                (self.root / name).rename(gone)
            except FileNotFoundError:
                raise not_found(name) from None
        self._forget(name)
        if self._indexes:  # What is in the folder goes with it.
            with suppress(IndexNotFound):
                drop_index(opened.record.index)
        for left in self._left():
            shutil.rmtree(left, ignore_errors=True)

    def close(self) -> None:
        """Let go of all indexes."""
        with self._lock:
            opened, self._opened = list(self._opened.values()), {}
        for _, one in opened:
            one.index.close()

    def _address(self, record: Record) -> str:
        if not self._indexes:
            return str(self.root / record.name / "index")
        # The uid keeps a new collection apart from what was there.
        return f"{self._indexes}/{record.name}-{record.uid}"

    def _forget(self, name: str) -> None:
        with self._lock:
            known = self._opened.pop(name, None)
        if known is not None:
            known[1].index.close()

    def _left(self) -> Iterator[Path]:
        """What a process that was killed has not removed, too."""
        return (Path(entry.path) for entry in os.scandir(self.root) if entry.name.startswith(_GONE))


def _signature(path: Path) -> _Signature | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
