"""Searches of an index: by texts in any language, by images, by rows, and by what should not be there.

from babelclip import Client, Searcher, Term
from babelclip.index import open_index

with Client("http://127.0.0.1:8080") as client, open_index("photographs.index") as index:
    searcher = Searcher(index, client)
    searcher.search("plage -gens", where={"taken": {"$gte": 1500000000}}).hits
    searcher.search([Term(image="sofa.jpg"), Term(text="in red", weight=0.5)]).hits
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from babelclip.embeddings import Embeddings, Vectors
from babelclip.errors import ModelNotFound, SpaceMismatch
from babelclip.index.base import DETAILS, Hit, Index, Settings
from babelclip.index.filters import Filter
from babelclip.search.answering import Threshold, answer, check_terms, check_threshold, embed_terms
from babelclip.search.calibration import Calibration
from babelclip.search.diversity import FOLDED_BY, NEAR, Near
from babelclip.search.query import InvalidQuery, Results, Term, parse_query
from babelclip.search.relevance import SearchCalibration

if TYPE_CHECKING:
    from babelclip.client.sync import Client

ATTEMPTS = 4  # at a search, while the index moves to another model, and another


class Searcher:
    """Embeds queries by the model of an index, and finds what fits. Safe to use from several threads.

    When the index has moved to another model, the next search is embedded by that; the server must serve it.
    The calibration is of one model, so such searches are without a threshold of their own.

    Args:
        index: open, and closed by the caller.
        client: of a server, or of archives in this process. It is pinned to the space of the index, and to
            the version that its settings name, unless it is pinned already.
        calibration: what a cosine means for this model; with it "nothing fits" can be told.
        near: when two rows are near-duplicates.

    Raises:
        SpaceMismatch: the calibration is of another space than the index.
    """

    def __init__(
        self,
        index: Index,
        client: Client,
        calibration: SearchCalibration | Calibration | None = None,
        *,
        near: Near = NEAR,
    ) -> None:
        if isinstance(calibration, Calibration):
            calibration = SearchCalibration(calibration.space, text=calibration)
        settings = index.settings
        if calibration is not None and calibration.space != settings.space:
            raise SpaceMismatch(
                f"the calibration is of the space {calibration.space}, the index of {settings.space}:"
                " calibrate again"
            )
        self._index = index
        self._client = client
        self._calibration = calibration
        self._near = near
        self._lock = threading.Lock()
        self._pinned(settings)

    @property
    def index(self) -> Index:
        """What is searched."""
        return self._index

    @property
    def client(self) -> Client:
        """What embeds by the model of the index, as that is now."""
        return self._pinned(self._index.settings)

    @property
    def calibration(self) -> SearchCalibration | None:
        """What a cosine means; None where that is not known for the model of the index as it is now."""
        found = self._calibration
        return found if found is not None and found.space == self._index.settings.space else None

    def search(
        self,
        query: str | Sequence[Term],
        *,
        language: str | None = None,
        top: int = 10,
        offset: int = 0,
        where: Filter | None = None,
        diverse: bool = True,
        threshold: Threshold = "auto",
        columns: Sequence[str] = DETAILS,
    ) -> Results:
        """The rows that fit best, best first.

        Args:
            query: a text, see `babelclip.search.query.parse_query`, or terms.
            language: that of the texts, as in `Client.embed_texts`.
            top, offset: how many, after the place that `next_offset` of the page before names.
            where: only rows that this filter keeps.
            diverse: give a burst of near-duplicates one place.
            threshold: the least cosine of a hit. "auto": what the calibration says; without one there is no
                threshold. None: all rows are hits, and the results tell the calibration's threshold.
            columns: of the rows.

        Raises:
            InvalidQuery: the query says nothing or contradicts itself, a row that others should be like is
                not there, or an argument is out of range.
            InvalidFilter: the filter is not valid.
            SpaceMismatch: the server does not serve the model of the index.
            ItemErrors, BabelclipError: a term could not be embedded, as in `Client.embed_texts`.
        """
        terms = parse_query(query) if isinstance(query, str) else list(query)
        check_terms(terms)
        check_threshold(threshold)
        for attempt in range(1, ATTEMPTS + 1):
            settings = self._index.settings
            try:
                asked = embed_terms(self._pinned(settings), terms, language)
                found = search_index(
                    self._index,
                    terms,
                    asked.vectors,
                    settings=settings,
                    calibration=self._calibration,
                    top=top,
                    offset=offset,
                    where=where,
                    diverse=diverse,
                    threshold=threshold,
                    columns=columns,
                    near=self._near,
                )
            except (SpaceMismatch, ModelNotFound):
                # The version of before may be gone from the server as soon as the index has moved on.
                if attempt == ATTEMPTS or self._index.settings.space == settings.space:
                    raise
                continue
            return replace(found, truncated=asked.truncated, unknown=asked.unknown)
        raise AssertionError("the last attempt returns or raises")

    def similar(
        self,
        row: str,
        *,
        top: int = 10,
        offset: int = 0,
        where: Filter | None = None,
        diverse: bool = True,
        threshold: Threshold = "auto",
        columns: Sequence[str] = DETAILS,
    ) -> Results:
        """More like the row of this id, which is not among them; nothing is embedded. As `search`."""
        return self.search(
            [Term(like=row)],
            top=top,
            offset=offset,
            where=where,
            diverse=diverse,
            threshold=threshold,
            columns=columns,
        )

    def _pinned(self, settings: Settings) -> Client:
        """The client, pinned to the model of the index; another one of the same server where it was not."""
        with self._lock:
            if self._client.space is None:
                self._client.pin(settings.space, settings.version)
            if self._client.space != settings.space:
                self._client = self._client.repinned(settings.space, settings.version)
            return self._client


def search_index(
    index: Index,
    terms: Sequence[Term],
    vectors: Sequence[Vectors | None],
    *,
    settings: Settings,
    calibration: SearchCalibration | None = None,
    top: int = 10,
    offset: int = 0,
    where: Filter | None = None,
    diverse: bool = True,
    threshold: Threshold = "auto",
    columns: Sequence[str] = DETAILS,
    near: Near = NEAR,
) -> Results:
    """The search of terms that are embedded already, as `Searcher.search` has it; it asks the index alone.

    Args:
        terms: at least one.
        vectors: float32 [D] of each term, by the model of the index; None for rows that others should be
            like, whose vectors are read.
        settings: of the index, from before the terms were embedded.
        calibration: passed over where it is of another space.

    Raises:
        InvalidQuery, InvalidFilter: as `Searcher.search`.
        SpaceMismatch: the index is of another space by now than `settings` says: embed the terms again.
    """
    check_terms(terms)
    check_threshold(threshold)
    rows = _stacked(index, terms, vectors, settings)
    if calibration is not None and calibration.space != settings.space:
        calibration = None
    needed = [*columns, *(name for name in FOLDED_BY if name not in columns)] if diverse else columns

    def rank(query: Vectors, offset: int, top: int) -> list[Hit]:
        asked = Embeddings(query[None], settings.space, settings.logit_scale)
        (found,) = index.search(asked, top=top, offset=offset, where=where, columns=needed)
        return found

    found = answer(
        rank,
        terms,
        rows,
        calibration=calibration,
        candidates=index.count(where) if calibration else 0,
        top=top,
        offset=offset,
        diverse=diverse,
        threshold=threshold,
        near=near,
    )
    return replace(found, space=settings.space, version=settings.version)


def _stacked(
    index: Index, terms: Sequence[Term], vectors: Sequence[Vectors | None], settings: Settings
) -> Vectors:
    """float32 [T, D], each of length 1; those of rows are read from the index."""
    names = {n: term.like for n, term in enumerate(terms) if term.like is not None}
    found = dict(zip(names, index.get(list(names.values()), columns=("vector",)), strict=True))
    stacked: Vectors = np.empty((len(terms), settings.dim), dtype=np.float32)
    for n, vector in enumerate(vectors):
        if n in names:
            row = found[n]
            if row is None:
                raise InvalidQuery(f"the index has no row with the id {names[n]!r}")
            if row.vector is None:
                raise InvalidQuery(f"the row {names[n]!r} has no vector: it could not be embedded")
            vector = row.vector
        if vector is None or vector.shape != (settings.dim,):
            raise SpaceMismatch(f"a term's vector is not of {settings.dim} values, as those of the index are")
        stacked[n] = vector / np.linalg.norm(vector)
    return stacked
