"""What the tools search: an index of this process, or a gateway's collection, by the same calls.

Each call blocks, and may be made from several threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from babelclip.index.filters import Filter
from babelclip.retrievers.finding import FoundImage
from babelclip.search.query import Term


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a library holds.

    Attributes:
        name: of the index or the collection.
        images: how many there are, moments of films among them.
        fields: what can be filtered by beside what every image has, each by its type.
    """

    name: str
    images: int
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Page:
    """What was found, best first.

    Attributes:
        threshold: the least cosine of what fits; None where nobody knows one.
        fits: whether anything does.
        next_offset: the offset of what comes after these; None where these are the last.
        originals: ids of those whose originals may be given.
    """

    images: Sequence[FoundImage]
    threshold: float | None
    fits: bool
    next_offset: int | None
    originals: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Label:
    """What an image shows.

    Attributes:
        label: None where none of the labels matches.
        best: the best of them, also where it is no match.
        probability: of the best label among the labels.
        match: the probability that the best label matches at all; None where nobody knows.
    """

    label: str | None
    best: str | None
    probability: float
    match: float | None


@dataclass(frozen=True, kw_only=True)
class FoundRange(FoundImage):
    """A range of a film, from `begin` to `end`, that fits a query.

    Attributes:
        best: when the frame is shown that fits best, in seconds.
    """

    best: float


@dataclass(frozen=True)
class Original:
    """An image as it was stored."""

    data: bytes
    media_type: str


class NotAvailable(LookupError):
    """There is no such image, or it may not be given; the message says why."""


class ImageLibrary(Protocol):
    """Images with their vectors.

    Raises, in all calls: InvalidQuery, InvalidFilter, NotAvailable and BabelclipError.
    """

    def facts(self) -> Facts:
        """What it holds, as it is now."""
        ...

    def search(
        self, query: str | Sequence[Term], *, top: int, offset: int, where: Filter | None, thumbnails: bool
    ) -> Page:
        """What fits a query best; where something fits, only that."""
        ...

    def similar(self, item: str, *, top: int, offset: int, where: Filter | None, thumbnails: bool) -> Page:
        """What is most like an image, which is not among it."""
        ...

    def classify(
        self, labels: Sequence[str], *, item: str | None, image: bytes | None, language: str | None
    ) -> Label:
        """Which label an image of the library shows, or one of the caller's: exactly one of the two."""
        ...

    def moments(self, query: str, *, top: int, source: str | None, thumbnails: bool) -> Sequence[FoundRange]:
        """Ranges of films that fit a text, best first."""
        ...

    def original(self, item: str, most_bytes: int) -> Original:
        """An image as it was stored."""
        ...
