"""What a search for duplicates reads of an index: in memory a hundred bytes a row, vectors in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from babelclip.dedup.groups import DedupCancelled
from babelclip.dedup.hashes import Codes, parse_hash
from babelclip.embeddings import Vectors
from babelclip.index import Index, Row
from babelclip.index.filters import Filter

_AT_ONCE = 4096  # rows
_DIGITS = 32  # of a checksum, which are kept to compare: 128 bits


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Which split a row belongs to; rows that belong to none are left out.

    Attributes:
        names: in the order that they were named in.
        collections: the split of each collection; None where a metadata field names it.
        field: of the metadata, whose text is the split's name.
    """

    names: tuple[str, ...]
    collections: Mapping[str, str] | None = None
    field: str | None = None

    def of(self, row: Row) -> str:
        """The name of a row's split; empty where it belongs to none."""
        if self.collections is not None:
            return self.collections.get(row.collection, "")
        name = row.metadata.get(self.field or "")
        return name if isinstance(name, str) and name in self.names else ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The fields of `Row` that it is told by."""
        return ("collection",) if self.collections is not None else ("metadata",)


class Steps:
    """How far a search is, and whether to go on; of three parts, each as long as there are rows.

    Args:
        progress: is called with what is done and with all there is to do.
        cancelled: is asked whether to stop.
    """

    def __init__(
        self, rows: int, progress: Callable[[int, int], None] | None, cancelled: Callable[[], bool] | None
    ) -> None:
        self._rows, self._progress, self._cancelled = rows, progress, cancelled
        self._before = 0
        self._done = 0.0

    def begin(self, part: int) -> None:
        """The parts before this one are done."""
        self._before, self._done = part * self._rows, 0.0
        self.step(0)

    def step(self, rows: float) -> None:
        """So many rows more are done.

        Raises:
            DedupCancelled: the search is to stop.
        """
        if self._cancelled is not None and self._cancelled():
            raise DedupCancelled("the search for duplicates was cancelled")
        self._done = min(self._done + rows, self._rows)
        if self._progress is not None:
            self._progress(self._before + int(self._done), 3 * self._rows)


@dataclass(frozen=True, eq=False)
class Table:
    """N rows, by columns.

    Attributes:
        ids: of the rows.
        codes, has_code: perceptual hashes, uint64 [N], and whether there is one.
        copy_of: int64 [N]: the first row of the same bytes; itself where there is none before it.
        splits: int16 [N], positions in the names of the splits; -1 where none are asked for.
        vectors: float32 [N, D], mapped from a file; None where they were not asked for.
    """

    ids: Sequence[str]
    codes: Codes
    has_code: NDArray[np.bool_]
    copy_of: NDArray[np.int64]
    splits: NDArray[np.int16]
    vectors: Vectors | None

    def __len__(self) -> int:
        return len(self.ids)


def images(where: Filter | None) -> Filter:
    """The filter of the rows that are compared: images that have a vector, of those that `where` keeps."""
    parts: list[Filter] = [{"kind": "image"}, {"error_code": ""}]
    return {"$and": [*parts, where] if where is not None else parts}


def read_table(
    index: Index,
    folder: Path,
    *,
    where: Filter | None,
    splits: Splits | None,
    with_vectors: bool,
    steps: Steps,
) -> Table:
    """Read the rows of an index once; the vectors into a file in `folder`."""
    columns: tuple[str, ...] = ("checksum", "perceptual_hash")
    columns += (("vector",) if with_vectors else ()) + (splits.columns if splits else ())
    ids: list[str] = []
    codes: list[NDArray[np.uint64]] = []
    has_code: list[NDArray[np.bool_]] = []
    checksums: list[NDArray[Any]] = []
    of_split: list[NDArray[np.int16]] = []
    path = folder / "vectors"
    with path.open("wb") as file:
        for read in index.scan(where=images(where), columns=columns, batch_size=_AT_ONCE):
            steps.step(len(read))
            names = [splits.of(row) if splits else "" for row in read]
            if splits:
                kept = [place for place, name in enumerate(names) if name]
                read, names = [read[place] for place in kept], [names[place] for place in kept]
                if not read:
                    continue
            of_split.append(
                np.array([splits.names.index(name) if splits else -1 for name in names], dtype=np.int16)
            )
            ids += [row.id for row in read]
            parsed = [parse_hash(row.perceptual_hash) for row in read]
            codes.append(np.array([code or 0 for code in parsed], dtype=np.uint64))
            has_code.append(np.array([code is not None for code in parsed], dtype=np.bool_))
            checksums.append(
                np.array([row.checksum[:_DIGITS].encode("ascii", "replace") for row in read], f"S{_DIGITS}")
            )
            if with_vectors:
                file.write(_unit(read, index.settings.dim).tobytes())
    vectors: Vectors | None = None
    if with_vectors:
        dim = index.settings.dim
        vectors = (
            np.memmap(path, dtype=np.float32, mode="r", shape=(len(ids), dim))
            if ids
            else np.empty((0, dim), dtype=np.float32)
        )
    none = np.empty(0, dtype=np.uint64)
    return Table(
        ids=ids,
        codes=np.concatenate([none, *codes]),
        has_code=np.concatenate([none.astype(np.bool_), *has_code]),
        copy_of=_copies(np.concatenate([none.astype(f"S{_DIGITS}"), *checksums])),
        splits=np.concatenate([none.astype(np.int16), *of_split]),
        vectors=vectors,
    )


def _unit(rows: Sequence[Row], dim: int) -> Vectors:
    vectors = np.stack(
        [np.zeros(dim, np.float32) if row.vector is None else row.vector for row in rows], dtype=np.float32
    )
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit


def _copies(checksums: NDArray[Any]) -> NDArray[np.int64]:
    """For each row the first of the same checksum; a row without one is a copy of none."""
    own = np.arange(len(checksums))
    _, first, where = np.unique(checksums, return_index=True, return_inverse=True)
    return np.where(checksums == b"", own, first[where]) if len(checksums) else own
