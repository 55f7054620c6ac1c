"""What an index is, whichever engine keeps it: rows, hits and the calls.

An index has one or more generations. One of them is current: it is what is searched, and its settings say of
which embedding space it is. Another can be filled beside it, by another version of the model, and be made
current in one step; so nobody who searches ever meets rows of two spaces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from babelclip.embeddings import Embeddings, Vectors
from babelclip.index.filters import Filter

FIELD_TYPES = ("text", "integer", "number", "boolean")
"""Of the metadata fields that rows can be filtered by."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What holds for all rows of a generation; fixed when it is made.

    Attributes:
        space: fingerprint of the weights, tokenizer and preprocessing of the model that gives the vectors.
        dim: values of a vector.
        logit_scale: of the model: what a cosine is multiplied by before a softmax.
        version: the version of the model.
        preprocessing: how pixels are made of an image, in the words of the checkpoint's description.
        fields: metadata that rows can be filtered by, each by its type in FIELD_TYPES. Other metadata is kept
            and given back, but not filtered by.
    """

    space: str
    dim: int
    logit_scale: float = 1.0
    version: str = ""
    preprocessing: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """An image, a moment of a video, or what could not be embedded.

    Attributes:
        id: what the row is known by; `row_id` makes one of the source.
        vector: float32 [dim] of length 1; None where it failed, or was not asked for.
        source: where it comes from: a path, an address, `archive.tar#member`.
        collection: what was added together, as a folder or a list: what is dropped when it is gone there.
        kind: `image`, or `moment` of a video.
        fingerprint: changes when the source does: size and time of a file, a checksum, an entity tag.
        size, width, height: bytes and pixels of the source as it is stored; 0 where unknown.
        taken: when the photograph was taken, seconds since 1970 (UTC); None where unknown.
        begin, end: of a moment, seconds from the beginning of its video; None for an image.
        checksum: SHA-256 of the bytes, 64 hexadecimal digits; empty where unknown.
        perceptual_hash: 64 bits as 16 hexadecimal digits, alike for images that look alike; empty where
            unknown.
        thumbnail: a small JPEG; empty where there is none, or it was not asked for.
        caption: a text that came with the image.
        metadata: any JSON object.
        error_code, error_message: why there is no vector; both empty where there is one.
    """

    id: str
    vector: Vectors | None = None
    source: str
    collection: str = ""
    kind: str = "image"
    fingerprint: str = ""
    size: int = 0
    width: int = 0
    height: int = 0
    taken: float | None = None
    begin: float | None = None
    end: float | None = None
    checksum: str = ""
    perceptual_hash: str = ""
    thumbnail: bytes = b""
    caption: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    error_code: str = ""
    error_message: str = ""


DETAILS = (
    *("source", "collection", "kind", "fingerprint", "size", "width", "height", "taken", "begin", "end"),
    *("checksum", "perceptual_hash", "caption", "metadata", "error_code", "error_message"),
)
"""What is read of a row unless something else is asked for: all but the vector and the thumbnail."""


@dataclass(frozen=True, eq=False)
class Hit:
    """A row that was found, and its cosine with the query."""

    row: Row
    cosine: float


@dataclass(frozen=True, kw_only=True)
class IndexInfo:
    """What an index says of itself.

    Attributes:
        address, engine: where it is, and what keeps it: `lancedb` or `milvus`.
        generation: the name of the current generation.
        settings: of the current generation.
        rows, failed: with a vector, and without one.
        method: how vectors are searched: `flat` compares all of them.
        indexed: rows that the method covers; the others are compared one by one until the next `compact`.
        recall_at_10: measured on a sample when the method's structure was built; None while there is none.
        parameters: of the method, by the engine's own names.
    """

    address: str
    engine: str
    generation: str
    settings: Settings
    rows: int
    failed: int
    method: str = "flat"
    indexed: int = 0
    recall_at_10: float | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


class Index(Protocol):
    """An index that is open. Safe to use from several threads; several processes may use one, too.

    All calls but `generations`, `begin_generation`, `promote` and `drop_generation` are of one generation:
    the current one, or the one that was opened by its name. Where the current one is another than before,
    the next call is of that one.
    """

    @property
    def settings(self) -> Settings:
        """Of the generation, as it is now."""
        ...

    def info(self) -> IndexInfo:
        """What the index says of itself."""
        ...

    def count(self, where: Filter | None = None) -> int:
        """Rows, also those without a vector, that a filter keeps.

        Raises:
            InvalidFilter: the filter is not valid.
        """
        ...

    def upsert(self, rows: Sequence[Row], *, space: str) -> None:
        """Add rows, in place of those of the same ids; all of them or, where one is not valid, none.

        Args:
            rows: with a vector, or with an error code; where an id stands twice the last one counts.
            space: of the vectors.

        Raises:
            SpaceMismatch: the generation is of another space, or a vector has another dimension.
            ValueError: a row has neither vector nor error code, or a value of a field has another type.
        """
        ...

    def size_check(self) -> Callable[[Row], str]:
        """What tells of a row, with or without its vector yet, why `upsert` would refuse it for its size.

        It gives a sentence, empty where the row is not too large, for the generation as it is now.
        """
        ...

    def delete(self, ids: Iterable[str] | None = None, *, where: Filter | None = None) -> int:
        """Delete rows by their ids, or all that a filter keeps; returns how many there were.

        Raises:
            ValueError: neither is given, or both.
        """
        ...

    def get(self, ids: Sequence[str], *, columns: Sequence[str] = DETAILS) -> list[Row | None]:
        """N ids → N rows in their order, None where there is none; `columns` are fields of `Row`."""
        ...

    def search(
        self,
        queries: Embeddings,
        *,
        top: int = 10,
        offset: int = 0,
        where: Filter | None = None,
        columns: Sequence[str] = DETAILS,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """N vectors → for each its `top` nearest rows after the first `offset`, nearest first.

        Args:
            queries: none of which failed.
            where: only rows that this filter keeps are candidates, so there are `top` where there can be.
            exact: compare all rows, whatever the method.

        Raises:
            SpaceMismatch: the current generation is of another space: embed the queries again by the version
                that `settings` names.
            InvalidFilter: the filter is not valid.
        """
        ...

    def page(
        self,
        *,
        after: str = "",
        size: int = 100,
        where: Filter | None = None,
        columns: Sequence[str] = DETAILS,
    ) -> list[Row]:
        """Rows in the order of their ids, with or without a vector: the first `size` after an id.

        An id is compared by its characters' numbers. The page after it begins at the last one's id, and so
        holds its place whatever is added or deleted meanwhile.

        Args:
            where: only rows that this filter keeps.

        Raises:
            InvalidFilter: the filter is not valid.
        """
        ...

    def scan(
        self,
        *,
        where: Filter | None = None,
        columns: Sequence[str] = DETAILS,
        batch_size: int = 1024,
    ) -> Iterator[list[Row]]:
        """All rows that a filter keeps, with or without a vector, in no order.

        They come as they were at the start; those that others change meanwhile may come as they are by then.
        """
        ...

    def compact(self) -> None:
        """Put the work of many small commits in order and bring the search structure up to date.

        Other processes may search and add meanwhile.

        Raises:
            IndexBusy: another process is at it.
        """
        ...

    def generations(self) -> dict[str, Settings]:
        """All generations by name."""
        ...

    def begin_generation(self, name: str, settings: Settings) -> Index:
        """A generation that is not current, to be filled; the one of that name where it was begun before.

        Raises:
            ValueError: one of that name was begun with other settings.
        """
        ...

    def promote(self, name: str) -> None:
        """Make a generation the current one, in one step for all who search.

        Raises:
            IndexNotFound: there is no generation of that name.
        """
        ...

    def drop_generation(self, name: str) -> None:
        """Delete a generation that is not current, with its rows.

        Raises:
            ValueError: it is the current one.
        """
        ...

    def close(self) -> None:
        """Let go of what the engine holds; the index stays."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def row_id(source: str, begin: float | None = None) -> str:
    """The id of a source, or of the moment that begins there: 32 hexadecimal digits, always the same ones."""
    name = source if begin is None else f"{source}\0{begin:.3f}"
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
