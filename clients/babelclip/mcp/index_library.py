"""An index of this process as a library of images."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from babelclip.embeddings import Embeddings
from babelclip.index.base import Row
from babelclip.index.filters import Filter
from babelclip.mcp.library import Facts, FoundRange, Label, NotAvailable, Original, Page
from babelclip.mcp.originals import Originals
from babelclip.retrievers.finding import of_index, stored_thumbnails
from babelclip.search.classify import classify_embeddings, label_embeddings, label_sentences
from babelclip.search.query import Results, Term
from babelclip.search.searcher import Searcher
from babelclip.video.finding import find_moments


class IndexLibrary:
    """See `babelclip.mcp.library.ImageLibrary`.

    Args:
        searcher: of the index; closed by the caller, with its index and client.
        originals: folders whose images may be given as they are; none by default.
    """

    def __init__(self, searcher: Searcher, originals: Sequence[str | os.PathLike[str]] = ()) -> None:
        self._searcher = searcher
        self._originals = Originals(originals)

    def facts(self) -> Facts:
        """See `ImageLibrary.facts`."""
        info = self._searcher.index.info()
        name = os.path.basename(info.address.rstrip("/")) or info.address
        return Facts(name=name, images=info.rows, fields=info.settings.fields)

    def search(
        self, query: str | Sequence[Term], *, top: int, offset: int, where: Filter | None, thumbnails: bool
    ) -> Page:
        """See `ImageLibrary.search`."""
        return self._page(self._searcher.search(query, top=top, offset=offset, where=where), thumbnails)

    def similar(self, item: str, *, top: int, offset: int, where: Filter | None, thumbnails: bool) -> Page:
        """See `ImageLibrary.similar`."""
        return self._page(self._searcher.similar(item, top=top, offset=offset, where=where), thumbnails)

    def classify(
        self, labels: Sequence[str], *, item: str | None, image: bytes | None, language: str | None
    ) -> Label:
        """See `ImageLibrary.classify`."""
        client = self._searcher.client
        sentences = client.embed_texts(label_sentences(labels, language=language), language=language)
        if item is not None:
            row = self._row(item, "vector")
            if row.vector is None:
                raise NotAvailable(f"the image {item!r} has no vector: it could not be embedded")
            shown = Embeddings(np.stack([row.vector]), sentences.space, sentences.logit_scale)
        else:
            assert image is not None
            shown = client.embed_images([image])
        calibration = self._searcher.calibration
        (found,) = classify_embeddings(
            shown,
            list(labels),
            label_embeddings(sentences, len(labels)),
            None if calibration is None else calibration.text,
        )
        return Label(label=found.label, best=found.best, probability=found.probability, match=found.match)

    def moments(self, query: str, *, top: int, source: str | None, thumbnails: bool) -> list[FoundRange]:
        """See `ImageLibrary.moments`."""
        searcher = self._searcher
        calibration = searcher.calibration
        found = find_moments(
            searcher.index,
            searcher.client,
            query,
            source=source,
            top=top,
            calibration=None if calibration is None else calibration.text,
        )
        pictures = stored_thumbnails(searcher, [one.row.id for one in found]) if thumbnails else {}
        return [
            FoundRange(
                id=one.row.id,
                source=one.source,
                caption=one.row.caption,
                score=one.cosine,
                match=one.probability,
                kind=one.row.kind,
                begin=one.begin,
                end=one.end,
                best=one.best,
                metadata=one.row.metadata,
                thumbnail=pictures.get(one.row.id, b""),
            )
            for one in found
        ]

    def original(self, item: str, most_bytes: int) -> Original:
        """See `ImageLibrary.original`."""
        return self._originals.read(self._row(item, "source").source, most_bytes)

    def _row(self, item: str, column: str) -> Row:
        (row,) = self._searcher.index.get([item], columns=(column,))
        if row is None:
            raise NotAvailable(f"there is no image with the id {item!r}")
        return row

    def _page(self, found: Results, thumbnails: bool) -> Page:
        ids = [hit.row.id for hit in found.hits]
        pictures = stored_thumbnails(self._searcher, ids) if thumbnails else {}
        return Page(
            images=[of_index(hit, pictures.get(hit.row.id, b"")) for hit in found.hits],
            threshold=found.threshold,
            fits=found.fits,
            next_offset=found.next_offset,
            originals=frozenset(
                hit.row.id
                for hit in found.hits
                if hit.row.kind == "image" and self._originals.may_have(hit.row.source)
            ),
        )
