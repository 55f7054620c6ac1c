"""A folder: files are written under another name, synced, and renamed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from filelock import FileLock, Timeout

from babelclip.atomic_files import replacing
from batch.storage.base import StorageBusy

_LOCK = ".lock"


@dataclass(frozen=True)
class LocalStorage:
    """See `batch.storage.base.Storage`. All workers must see the folder under this name."""

    folder: Path
    status_seconds: float = 1.0

    @property
    def address(self) -> str:
        return str(self.folder)

    def names(self, folder: str) -> list[str]:
        try:
            return os.listdir(self.folder / folder)
        except FileNotFoundError:
            return []

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        with (self.folder / name).open("rb") as file:
            yield file

    @contextmanager
    def writing(self, *names: str, shared: bool = False) -> Iterator[tuple[Path, ...]]:
        paths = [self.folder / name for name in names]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(*paths, tag=uuid4().hex if shared else "") as partials:
            yield partials

    @contextmanager
    def creating(self, *names: str) -> Iterator[tuple[Path, ...]]:
        with self.writing(*names) as partials:  # Whoever calls holds the lock.
            yield partials
            if (self.folder / names[-1]).exists():
                raise FileExistsError(f"{self.folder / names[-1]} is there already")

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def remove_partial(self, folder: str) -> None:
        for path in (self.folder / folder).glob(".*.partial"):
            path.unlink(missing_ok=True)

    @contextmanager
    def locked(self, say: Callable[[str], None]) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise StorageBusy(
                f"another job writes to {self.folder}: wait for it, or give another folder"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def check_lock(self) -> None:
        """A lock of a file stays until it is given back."""
