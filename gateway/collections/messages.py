"""What is asked of collections, and what they answer: one form for every way in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from babelclip import Classification, ItemError
from babelclip.index import IndexInfo, Settings
from babelclip.search.query import Results
from gateway.collections.store import Record

ADDED = "added"
FAILED = "failed"


@dataclass(frozen=True)
class CollectionState:
    """A collection as it is listed.

    Attributes:
        info: None where the index cannot be read at the moment.
        state: `ready`, `migrating`, or `unavailable`.
    """

    record: Record
    info: IndexInfo | None
    state: str


@dataclass(frozen=True)
class NewItem:
    """An image to be added.

    Attributes:
        image: its encoded bytes, or why there are none; one by its address is fetched.
        id: what it is to be known by; "" for one made of the source, or of the bytes where that is "".
        keep: whether the bytes are kept, to be given back.
    """

    image: bytes | ItemError
    id: str = ""
    source: str = ""
    caption: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    keep: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of an item.

    Attributes:
        id: what it is known by; "" where it failed before it had an id.
        code, message: why it failed; both empty where it was added.
    """

    id: str
    code: str = ""
    message: str = ""

    @property
    def status(self) -> str:
        """ADDED or FAILED."""
        return FAILED if self.code else ADDED


@dataclass(frozen=True)
class Term:
    """A part of a query: a text, an encoded image, or the id of an item; a negative weight avoids it."""

    text: str | None = None
    image: bytes | ItemError | None = None
    like: str | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class SearchRequest:
    """What is searched for.

    Attributes:
        query: as people write it, "beach -people"; or "" and terms.
        threshold: the least cosine of what fits, from -1 to 1; `auto` for the one at which a calibration says
            a half, where there is one; None for none.
        cut: whether what does not fit is left out, instead of told.
        diverse: whether images that hardly differ take one place.
        language: that of the texts, by BCP 47; "" for the model's default.
    """

    query: str = ""
    terms: Sequence[Term] = ()
    top: int = 20
    offset: int = 0
    where: Mapping[str, Any] | None = None
    diverse: bool = True
    threshold: float | Literal["auto"] | None = "auto"
    cut: bool = False
    language: str = ""


@dataclass(frozen=True)
class SearchResult:
    """Hits, best first.

    Attributes:
        settings: of the generation that was searched.
        results: near-duplicates are folded, and each hit has its row.
    """

    collection: str
    settings: Settings
    results: Results


@dataclass(frozen=True)
class LabelRequest:
    """Labels for items of a collection: those of some ids, or all that a filter keeps."""

    labels: Sequence[str]
    ids: Sequence[str] | None = None
    where: Mapping[str, Any] | None = None
    templates: Sequence[str] | None = None
    language: str | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Labelled:
    """A classification for each item that has a vector, by its id."""

    collection: str
    settings: Settings
    answers: Sequence[tuple[str, Classification]]
