"""The files of a job as everything above sees them: by names such as `vectors/part-0000012.parquet`.

A file is there as a whole or not at all, whenever its writer is killed. Who lists a folder sees every file
that was finished before.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol


class StorageBusy(Exception):
    """Another job writes there; the message is a sentence for people."""


class Storage(Protocol):
    """A folder or the objects below an address. Errors of reading and writing are OSError."""

    @property
    def address(self) -> str:
        """By which `open_storage` gives the same in another process."""
        ...

    @property
    def status_seconds(self) -> float:
        """How long a status file may be left as it is: a writing takes time and, in a store, money."""
        ...

    def names(self, folder: str) -> list[str]:
        """Of the files directly in a folder, in no order; none where there is no such folder."""
        ...

    def reading(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A file that can be read anywhere.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def writing(self, *names: str, shared: bool = False) -> AbstractContextManager[tuple[Path, ...]]:
        """A local path for each file, to write it to. All take their places, in order, when the block ends
        without an error; after one, none does.

        Args:
            shared: another process may be writing the same ones, and the last to end wins.
        """
        ...

    def creating(self, *names: str) -> AbstractContextManager[tuple[Path, ...]]:
        """The same, once: the last file says that the others belong together, and must not be there yet.

        Raises:
            FileExistsError: it is, when the block ends.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def remove_partial(self, folder: str) -> None:
        """Remove what killed writers have left in a folder. Nobody may be writing there."""
        ...

    def locked(self, say: Callable[[str], None]) -> AbstractContextManager[None]:
        """Held by the one job that may write; it ends with the process, however that ends.

        Args:
            say: is told why it takes long.

        Raises:
            StorageBusy: another process holds it.
        """
        ...

    def check_lock(self) -> None:
        """Whether the lock is still held; what cannot be taken away always is.

        Raises:
            StorageBusy: another process has taken it.
        """
        ...
