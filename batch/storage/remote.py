"""An object store: files are finished on the local disk and put with one call, so that nothing is renamed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

from batch.storage.lease import Lease
from batch.storage.objects import Objects


class ObjectStorage:
    """See `batch.storage.base.Storage`.

    Raises:
        ImportError: fsspec, or the package for the store, is not installed.
    """

    status_seconds = 10.0

    def __init__(self, address: str) -> None:
        self._objects = Objects(address)
        self._lease: Lease | None = None

    @property
    def address(self) -> str:
        return self._objects.address

    def names(self, folder: str) -> list[str]:
        return self._objects.names(folder)

    def reading(self, name: str) -> AbstractContextManager[BinaryIO]:
        return self._objects.reading(name)

    @contextmanager
    def writing(self, *names: str, shared: bool = False) -> Iterator[tuple[Path, ...]]:
        with _scratch(names) as files:
            yield files
            for name, file in zip(names, files, strict=True):
                self._objects.put_file(name, file)

    @contextmanager
    def creating(self, *names: str) -> Iterator[tuple[Path, ...]]:
        with _scratch(names) as files:
            yield files
            there = FileExistsError(f"{self.address}/{names[-1]} is there already")
            if self._objects.read(names[-1]) is not None:
                raise there
            for name, file in zip(names[:-1], files, strict=False):
                self._objects.put_file(name, file)
            if not self._objects.create(names[-1], files[-1].read_bytes()):
                raise there

    def remove(self, name: str) -> None:
        self._objects.remove(name)

    def remove_partial(self, folder: str) -> None:
        """Nothing: what was not finished was never there."""

    @contextmanager
    def locked(self, say: Callable[[str], None]) -> Iterator[None]:
        self._lease = Lease(self._objects)
        self._lease.take(say)
        try:
            yield
        finally:
            self._lease.give_back()

    def check_lock(self) -> None:
        if self._lease is not None:
            self._lease.check()


@contextmanager
def _scratch(names: tuple[str, ...]) -> Iterator[tuple[Path, ...]]:
    with tempfile.TemporaryDirectory(prefix="babelclip-") as folder:
        yield tuple(Path(folder) / name.rpartition("/")[2] for name in names)
