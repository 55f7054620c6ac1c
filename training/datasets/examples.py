"""An image with its captions, and a sequence of millions of them that worker processes share."""

import array
import copy
import json
import os
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike

from training.datasets.rows import DataError, LeftOut, one_line


@dataclass(frozen=True, slots=True)
class ImageFile:
    path: str

    def read(self, most: int = -1) -> bytes:
        """The encoded image; at most `most` bytes of it, all when negative. Raises OSError."""
        with open(self.path, "rb") as file:
            return file.read(most)


@dataclass(frozen=True, slots=True)
class TarMember:
    """Bytes within an uncompressed tar, found without reading the tar."""

    path: str
    offset: int
    size: int

    def read(self, most: int = -1) -> bytes:
        """The encoded image; at most `most` bytes of it, all when negative. Raises OSError."""
        wanted = self.size if most < 0 else min(most, self.size)
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            data = file.read(wanted)
        if len(data) != wanted:
            raise OSError(f"{self.path} ends within a member; it was changed after it was indexed")
        return data


@dataclass(frozen=True, slots=True)
class Example:
    """An image's stable identity, unique in its data set, its captions (at least one), and its bytes."""

    key: str
    captions: tuple[str, ...]
    image: ImageFile | TarMember
    language: str | None = None  # None: unknown, or captions in several

    def read(self, most: int = -1) -> bytes:
        """The encoded image, see ImageFile.read. Raises OSError."""
        return self.image.read(most)


class Keyed(Protocol):
    @property
    def key(self) -> str:
        """What it is split by: equal keys are never parted."""
        ...


Item = TypeVar("Item", bound=Keyed)


class Packed(Sequence[Item]):
    """An immutable sequence held as one block of bytes.

    A forked worker that only looks at a Python object copies its memory page, because of the reference count,
    so a list of millions would be copied into every worker. Here an item is made when it is asked for.
    """

    def __init__(self, items: Iterable[Item], left_out: LeftOut | None = None) -> None:
        block, ends = bytearray(), array.array("q", [0])
        for item in items:
            block += json.dumps(self.pack(item), separators=(",", ":")).encode()
            ends.append(len(block))
        self._block = bytes(block)
        self._ends = np.array(ends, dtype=np.int64)
        self._rows = np.arange(len(ends) - 1, dtype=np.int64)
        self.left_out = left_out or LeftOut()

    @staticmethod
    @abstractmethod
    def pack(item: Item) -> list[Any]:
        """The item as JSON can write it."""

    @staticmethod
    @abstractmethod
    def unpack(fields: list[Any]) -> Item:
        """The item that `pack` wrote."""

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Item | Self:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        row = self._rows[index]
        return self.unpack(json.loads(self._block[self._ends[row] : self._ends[row + 1]]))

    def take(self, indices: ArrayLike) -> Self:
        """These items in this order, over the same block; what was left out stays with the whole."""
        part = copy.copy(self)
        part._rows = self._rows[np.asarray(indices, dtype=np.int64)]
        part.left_out = LeftOut()
        return part


class Examples(Packed[Example]):
    """A data set: its examples, each with its own key."""

    @staticmethod
    def pack(item: Example) -> list[Any]:
        image = item.image
        place = [image.path] if isinstance(image, ImageFile) else [image.path, image.offset, image.size]
        return [item.key, item.language, item.captions, *place]

    @staticmethod
    def unpack(fields: list[Any]) -> Example:
        key, language, captions, *place = fields
        image = ImageFile(*place) if len(place) == 1 else TarMember(*place)
        return Example(key, tuple(captions), image, language)


class Gathering:
    """Captions that come row by row, brought together by image in the order of first appearance."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, str | None, list[str]]] = {}

    def add(self, key: str, path: Path, caption: str, language: str | None) -> bool:
        """Take one row; or refuse it, with False, when the key stood for another file before.

        A caption becomes one line.
        An image whose captions are in several languages has the language None.
        """
        file, known, captions = self._found.setdefault(key, (str(path), language, []))
        if file != str(path):
            return False
        captions.append(one_line(caption))
        if known != language:
            self._found[key] = (file, None, captions)
        return True

    def examples(self, left_out: LeftOut) -> Examples:
        found = self._found.items()
        return Examples(
            (
                Example(key, tuple(captions), ImageFile(path), language)
                for key, (path, language, captions) in found
            ),
            left_out,
        )


def files_below(folder: Path) -> set[str]:
    """The paths, relative to the folder and with /, of all files in it: one walk instead of a question each.

    Raises:
        DataError: the folder cannot be listed.
    """
    found: set[str] = set()
    open_folders = [""]
    while open_folders:
        inner = open_folders.pop()
        try:
            with os.scandir(folder / inner) as entries:
                for entry in entries:
                    name = f"{inner}{entry.name}"
                    if entry.is_dir():
                        open_folders.append(f"{name}/")
                    else:
                        found.add(name)
        except OSError as error:
            raise DataError(f"{folder / inner} cannot be listed: {error.strerror}") from error
    return found
