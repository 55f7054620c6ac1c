"""Images that fit a query, from an index or from a gateway's collection, as one type.

found = find(searcher, query_terms("a red sofa", image="room.jpg"), top=5, thumbnails=True)
found[0].source, found[0].score, found[0].thumbnail_uri
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from babelclip.collections.asynchronous import AsyncCollectionClient
from babelclip.collections.messages import CollectionHit
from babelclip.collections.sync import CollectionClient
from babelclip.errors import RequestRefused
from babelclip.index.filters import Filter
from babelclip.search.answering import Threshold
from babelclip.search.query import SearchHit, Term, parse_query
from babelclip.search.searcher import Searcher

Source: TypeAlias = Searcher | CollectionClient | AsyncCollectionClient
"""What is searched."""

AT_A_TIME = 8  # thumbnails that are asked for at a time


@dataclass(frozen=True, kw_only=True)
class FoundImage:
    """An image, or a moment of a film, that fits a query.

    Attributes:
        score: the cosine with the query.
        match: the probability that it fits; None without a calibration.
        kind: `image` or `moment`.
        begin, end: of a moment, seconds from the beginning of its film.
        width, height: pixels of the original; 0 where unknown.
        taken: when the photograph was taken, seconds since 1970; None where unknown.
        duplicates: ids of those that look the same and took no place of their own.
        thumbnail: a small JPEG; empty where it was not asked for, or there is none.
    """

    id: str
    source: str
    caption: str
    score: float
    match: float | None = None
    kind: str = "image"
    begin: float | None = None
    end: float | None = None
    width: int = 0
    height: int = 0
    taken: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    duplicates: tuple[str, ...] = ()
    thumbnail: bytes = b""

    @property
    def thumbnail_uri(self) -> str | None:
        """The thumbnail as a data URI, as chat models take images; None where there is none."""
        if not self.thumbnail:
            return None
        return f"data:image/jpeg;base64,{base64.b64encode(self.thumbnail).decode('ascii')}"

    def details(self) -> dict[str, Any]:
        """What frameworks keep beside a text: the item's own metadata, and above it what is told here.

        What is unknown is left out; so is the caption, which is the text.
        """
        told = {
            "id": self.id,
            "source": self.source,
            "score": self.score,
            "match": self.match,
            "kind": self.kind,
            "begin": self.begin,
            "end": self.end,
            "width": self.width or None,
            "height": self.height or None,
            "taken": self.taken,
            "duplicates": list(self.duplicates) or None,
        }
        return {**self.metadata, **{name: value for name, value in told.items() if value is not None}}


def query_terms(text: str, image: bytes | str | os.PathLike[str] | None = None) -> str | list[Term]:
    """A text as people type it, or one and an image together, or an image alone where the text is empty.

    Raises:
        InvalidQuery: there is neither, or the text cannot be searched for.
    """
    if image is None:
        return text
    terms = parse_query(text) if text.strip() else []
    return [*terms, Term(image=image)]


def find(
    source: Source,
    query: str | Sequence[Term],
    *,
    top: int,
    where: Filter | None = None,
    diverse: bool = True,
    threshold: Threshold = "auto",
    thumbnails: bool = False,
) -> list[FoundImage]:
    """What fits best, best first; see `Searcher.search`.

    Raises:
        TypeError: the source can be awaited alone.
        InvalidQuery, BabelclipError: as `Searcher.search` and `CollectionClient.search`.
    """
    if isinstance(source, AsyncCollectionClient):
        raise TypeError("an AsyncCollectionClient can be awaited alone: call the asynchronous method")
    if isinstance(source, Searcher):
        hits = source.search(query, top=top, where=where, diverse=diverse, threshold=threshold).hits
        pictures = stored_thumbnails(source, [hit.row.id for hit in hits]) if thumbnails else {}
        return [of_index(hit, pictures.get(hit.row.id, b"")) for hit in hits]
    found = source.search(query, top=top, where=where, diverse=diverse, threshold=threshold).hits
    pictures = fetched_thumbnails(source, [hit.id for hit in found]) if thumbnails else {}
    return [of_collection(hit, pictures.get(hit.id, b"")) for hit in found]


async def find_async(
    source: Source,
    query: str | Sequence[Term],
    *,
    top: int,
    where: Filter | None = None,
    diverse: bool = True,
    threshold: Threshold = "auto",
    thumbnails: bool = False,
) -> list[FoundImage]:
    """`find` for an event loop; what cannot be awaited itself is searched in a thread."""
    if not isinstance(source, AsyncCollectionClient):
        return await asyncio.to_thread(
            find,
            source,
            query,
            top=top,
            where=where,
            diverse=diverse,
            threshold=threshold,
            thumbnails=thumbnails,
        )
    found = await source.search(query, top=top, where=where, diverse=diverse, threshold=threshold)
    turn = asyncio.Semaphore(AT_A_TIME)

    async def thumbnail(hit: CollectionHit) -> bytes:
        async with turn:
            try:
                return (await source.thumbnail(hit.id)).data
            except RequestRefused:
                return b""

    images = await asyncio.gather(*map(thumbnail, found.hits)) if thumbnails else [b""] * len(found.hits)
    return [of_collection(hit, image) for hit, image in zip(found.hits, images, strict=True)]


def of_index(hit: SearchHit, thumbnail: bytes = b"") -> FoundImage:
    """A hit of an index."""
    row = hit.row
    return FoundImage(
        id=row.id,
        source=row.source,
        caption=row.caption,
        score=hit.cosine,
        match=hit.probability,
        kind=row.kind,
        begin=row.begin,
        end=row.end,
        width=row.width,
        height=row.height,
        taken=row.taken,
        metadata=row.metadata,
        duplicates=hit.duplicates,
        thumbnail=thumbnail,
    )


def of_collection(hit: CollectionHit, thumbnail: bytes = b"") -> FoundImage:
    """A hit of a gateway's collection."""
    return FoundImage(
        id=hit.id,
        source=hit.source,
        caption=hit.caption,
        score=hit.score,
        match=hit.match,
        kind=hit.kind,
        begin=hit.begin,
        end=hit.end,
        width=hit.width,
        height=hit.height,
        taken=hit.taken,
        metadata=hit.metadata,
        duplicates=hit.duplicates,
        thumbnail=thumbnail,
    )


def stored_thumbnails(searcher: Searcher, ids: Sequence[str]) -> dict[str, bytes]:
    """Of rows of an index that are still there, by id.

    Read after a search, which looks at many more rows than it gives.
    """
    rows = searcher.index.get(ids, columns=("thumbnail",))
    return {row.id: row.thumbnail for row in rows if row is not None}


def fetched_thumbnails(client: CollectionClient, ids: Sequence[str]) -> dict[str, bytes]:
    """Of items of a collection by id, several at a time; empty of what has none, or is gone by now."""

    def fetch(item: str) -> bytes:
        try:
            return client.thumbnail(item).data
        except RequestRefused:
            return b""

    with ThreadPoolExecutor(AT_A_TIME) as threads:
        return dict(zip(ids, threads.map(fetch, ids), strict=True))
