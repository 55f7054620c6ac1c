"""What a gateway says of its collections, and what it is told, as types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from babelclip.client.items import ImageInput


@dataclass(frozen=True, kw_only=True)
class CollectionInfo:
    """A collection as it is listed.

    Attributes:
        model, version, space, dim: of the vectors; all but the model are empty while its index cannot be
            read.
        items, failed: with a vector, and without one.
        fields: what items can be filtered by beside what every item has, each by its type.
        method, recall_at_10: how vectors are searched, and what that was measured to find.
        state: `ready`, `migrating` or `unavailable`.
    """

    name: str
    model: str
    state: str
    space: str = ""
    version: str = ""
    dim: int = 0
    items: int = 0
    failed: int = 0
    fields: Mapping[str, str] = field(default_factory=dict)
    method: str = ""
    recall_at_10: float | None = None


@dataclass(frozen=True, kw_only=True)
class NewItem:
    """An image to be added.

    Attributes:
        image: an encoded image, the path of one, a data URI, a Pillow image or uint8 pixels; or
            `{"url": address}`, which the gateway fetches where its operator allows it.
        id: what it is to be known by; "" for one that the gateway makes of the source, or of the bytes.
    """

    image: ImageInput | Mapping[str, str]
    id: str = ""
    source: str = ""
    caption: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AddOutcome:
    """What became of an item that was to be added; `code` and `message` are empty where it was.

    Attributes:
        id: what it is known by; "" where it failed before it had an id.
    """

    id: str
    code: str = ""
    message: str = ""

    @property
    def added(self) -> bool:
        """Whether the item is in the collection, and can be found."""
        return not self.code


@dataclass(frozen=True, kw_only=True)
class CollectionItem:
    """An item of a collection.

    Attributes:
        kind: `image`, or `moment` of a film.
        begin, end: of a moment, in seconds.
        width, height: pixels of the original.
        taken: when the photograph was taken, in seconds since 1970.
        has_content: whether the gateway may give the original.
        code, message: why it has no vector; both empty where it has one.
    """

    id: str
    source: str
    kind: str
    caption: str
    begin: float | None = None
    end: float | None = None
    width: int = 0
    height: int = 0
    taken: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    has_content: bool = False
    code: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class ItemPage:
    """Some of a collection's items, in the order of their ids.

    Attributes:
        next_after: the `after` of the items after these; None where these are the last.
    """

    items: tuple[CollectionItem, ...]
    next_after: str | None


@dataclass(frozen=True, kw_only=True)
class CollectionHit(CollectionItem):
    """An item that was found.

    Attributes:
        score: the cosine with the query.
        match: the probability that it fits; None where the gateway has no calibration of the model.
        duplicates: ids of the items that look the same and took no place of their own.
    """

    score: float
    match: float | None = None
    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CollectionResults:
    """What was found, best first.

    Attributes:
        threshold: the least cosine of what fits; None where nobody says one.
        fits: whether anything reaches it.
        next_offset: the `offset` of the hits after these; None where these are the last.
    """

    hits: tuple[CollectionHit, ...]
    threshold: float | None
    fits: bool
    next_offset: int | None
    space: str
    version: str


@dataclass(frozen=True, kw_only=True)
class ItemLabel:
    """What an item shows.

    Attributes:
        id: of the item; "" for an image that is none.
        label: the best label; None where none of them matches.
        best: the best label, also where it is no match.
        probability: of the best label among the labels.
        match: the probability that the best label matches at all; None without a calibration.
    """

    id: str
    label: str | None
    best: str | None
    probability: float
    match: float | None


@dataclass(frozen=True)
class Content:
    """Bytes of an image or a film, and their media type."""

    data: bytes
    media_type: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """What takes longer, as it is now.

    Attributes:
        done, total: of what there is to do; the total is None where it shows only at the end.
        result: what came of it, once it is done.
        code, message: why it failed; else both empty.
    """

    id: str
    collection: str
    kind: str
    state: Literal["running", "done", "failed", "cancelled"]
    done: int = 0
    total: int | None = None
    result: Mapping[str, Any] | None = None
    code: str = ""
    message: str = ""
