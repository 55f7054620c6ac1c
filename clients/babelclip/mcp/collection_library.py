"""A gateway's collection as a library of images."""

from __future__ import annotations

from collections.abc import Sequence

from babelclip.collections.messages import CollectionHit, CollectionResults, ItemLabel
from babelclip.collections.sync import CollectionClient
from babelclip.errors import RequestRefused
from babelclip.index.base import Hit, Row
from babelclip.index.filters import Filter
from babelclip.mcp.library import Facts, FoundRange, Label, NotAvailable, Original, Page
from babelclip.retrievers.finding import fetched_thumbnails, of_collection
from babelclip.search.query import Term
from babelclip.video.finding import DEPTH, merge_hits
from babelclip.video.indexing import KIND


class CollectionLibrary:
    """See `babelclip.mcp.library.ImageLibrary`.

    Args:
        client: of the collection; closed by the caller.
    """

    def __init__(self, client: CollectionClient) -> None:
        self._client = client

    def facts(self) -> Facts:
        """See `ImageLibrary.facts`."""
        info = self._client.info()
        return Facts(name=info.name, images=info.items, fields=info.fields)

    def search(
        self, query: str | Sequence[Term], *, top: int, offset: int, where: Filter | None, thumbnails: bool
    ) -> Page:
        """See `ImageLibrary.search`."""
        return self._page(self._client.search(query, top=top, offset=offset, where=where), thumbnails)

    def similar(self, item: str, *, top: int, offset: int, where: Filter | None, thumbnails: bool) -> Page:
        """See `ImageLibrary.similar`."""
        return self._page(self._client.similar(item, top=top, offset=offset, where=where), thumbnails)

    def classify(
        self, labels: Sequence[str], *, item: str | None, image: bytes | None, language: str | None
    ) -> Label:
        """See `ImageLibrary.classify`."""
        if item is not None:
            found = self._client.classify(labels, ids=[item], language=language)
            if not found:
                raise NotAvailable(f"there is no image with the id {item!r}, or it has no vector")
            return _label(found[0])
        assert image is not None
        return _label(self._client.classify_image(image, labels, language=language))

    def moments(self, query: str, *, top: int, source: str | None, thumbnails: bool) -> list[FoundRange]:
        """See `ImageLibrary.moments`."""
        wanted: list[Filter] = [{"kind": KIND}, *([{"source": source}] if source is not None else [])]
        results = self._client.search(
            query, top=max(top, DEPTH), where={"$and": wanted}, diverse=False, threshold=None
        )
        hits = {hit.id: hit for hit in results.hits}
        ranges = merge_hits([Hit(_row(hit), hit.score) for hit in results.hits], top=top)
        pictures = fetched_thumbnails(self._client, [one.row.id for one in ranges]) if thumbnails else {}
        return [
            FoundRange(
                id=one.row.id,
                source=one.source,
                caption=hits[one.row.id].caption,
                score=one.cosine,
                match=hits[one.row.id].match,
                kind=KIND,
                begin=one.begin,
                end=one.end,
                best=one.best,
                metadata=one.row.metadata,
                thumbnail=pictures.get(one.row.id, b""),
            )
            for one in ranges
        ]

    def original(self, item: str, most_bytes: int) -> Original:
        """See `ImageLibrary.original`."""
        try:
            found = self._client.content(item, most_bytes=most_bytes)
        except RequestRefused as error:
            raise NotAvailable(error.message) from error
        if not found.media_type.startswith("image/"):
            raise NotAvailable("the original is no image")
        return Original(found.data, found.media_type)

    def _page(self, found: CollectionResults, thumbnails: bool) -> Page:
        pictures = fetched_thumbnails(self._client, [hit.id for hit in found.hits]) if thumbnails else {}
        return Page(
            images=[of_collection(hit, pictures.get(hit.id, b"")) for hit in found.hits],
            threshold=found.threshold,
            fits=found.fits,
            next_offset=found.next_offset,
            originals=frozenset(hit.id for hit in found.hits if hit.has_content and hit.kind == "image"),
        )


def _label(found: ItemLabel) -> Label:
    return Label(label=found.label, best=found.best, probability=found.probability, match=found.match)


def _row(hit: CollectionHit) -> Row:
    return Row(
        id=hit.id, source=hit.source, kind=hit.kind, begin=hit.begin, end=hit.end, metadata=hit.metadata
    )
