"""The objects below an address, by fsspec, with one kind of error.

An object is put with one call and is there as a whole or not at all: nothing of it is seen before. That is
also so of large ones, which go in several pieces that the last call puts together; of a writer that was
killed in between, the pieces stay unseen until the store's own rule for them removes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from batch.inputs.places import file_system

_BLOCK = 8 << 20  # bytes that are read ahead


class Objects:
    """What the address of a store leads to; names are those below it.

    Raises:
        ImportError: fsspec, or the package for the store, is not installed.
        ValueError: the address is none.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        # Listings are asked for each time: others write there, too.
        self._system, root = file_system(self.address, use_listings_cache=False)
        self._root = root.rstrip("/")

    def names(self, folder: str) -> list[str]:
        """Of the objects directly in a folder."""
        with self._errors(folder):
            try:
                found: list[str] = self._system.ls(self._path(folder), detail=False, refresh=True)
            except FileNotFoundError:
                return []
        return [path.rstrip("/").rpartition("/")[2] for path in found]

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        """An object that can be read anywhere.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._errors(name):
            file = self._system.open(self._path(name), "rb", block_size=_BLOCK)
        with file:
            yield file

    def read(self, name: str) -> bytes | None:
        """All of an object; None where there is none."""
        with self._errors(name):
            try:
                return bytes(self._system.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def put(self, name: str, data: bytes) -> None:
        """In the place of what was there."""
        with self._errors(name):
            self._system.pipe_file(self._path(name), data)

    def put_file(self, name: str, file: Path) -> None:
        """The same of a local file."""
        with self._errors(name):
            self._system.put_file(str(file), self._path(name))

    def create(self, name: str, data: bytes) -> bool:
        """Put it if there is none; whether it is there now, this and no other.

        Of all who create it at once the store lets one in (`If-None-Match`, or its like elsewhere). Where it
        knows no such condition, the last one is.
        """
        failed: OSError | None = None
        try:
            with self._errors(name):
                self._system.pipe_file(self._path(name), data, mode="create")
        except OSError as error:  # Not every store's package says which refusal means that.
            failed = error
        found = self.read(name)
        if found is None and failed is not None:
            raise failed
        return found == data

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        with self._errors(name):
            try:
                self._system.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError:
            raise
        except Exception as error:  # Of each store's package there are others.
            raise OSError(f"{self.address}/{name}: {error or type(error).__name__}") from error
