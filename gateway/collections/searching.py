"""Searches in a collection: the terms of a query become one vector, and its nearest rows the answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from babelclip import Embeddings, ItemError, SpaceMismatch
from babelclip.embeddings import Vectors
from babelclip.index import Hit, Settings
from babelclip.search.classify import THRESHOLD, classify_embeddings, label_embeddings, label_sentences
from babelclip.search.query import COLUMNS, InvalidQuery, Results, compose, page, parse_query
from babelclip.search.query import Term as QueryTerm
from babelclip.search.relevance import FILE, MatchCurve, SearchCalibration, read_search_calibration
from gateway.collections.calls import Calls
from gateway.collections.messages import (
    Labelled,
    LabelRequest,
    SearchRequest,
    SearchResult,
    Term,
)
from gateway.collections.names import is_readable_id
from gateway.collections.store import Opened
from gateway.embedding import Item
from gateway.errors import ITEM_NOT_FOUND, ApiError, items_failed, malformed
from gateway.scoring.scorer import MAX_LABEL, MAX_PAIRS

MAX_TOP = 1_000
MAX_OFFSET = 1_000_000
MAX_TERMS = 32
MAX_QUERY = 10_000
"""Characters: a query is taken apart into its words, which are many times as large."""
_TRIES = 3
_log = logging.getLogger(__name__)


class Searching:
    """Answers searches and gives labels.

    Args:
        calibrations: what a cosine means, by space.
    """

    def __init__(self, calls: Calls, calibrations: Mapping[str, SearchCalibration], max_items: int) -> None:
        self._calls = calls
        self._calibrations = calibrations
        self._max_items = max_items

    async def search(self, name: str, request: SearchRequest, timeout: float | None = None) -> SearchResult:
        """What is nearest to all terms together.

        Raises:
            ApiError: the request fails as a whole; it does if a term has no vector.
        """
        terms = _terms(request)
        for attempt in range(_TRIES):
            opened, settings = await self._calls.find(name)
            try:
                vectors = await self._vectors(opened, settings, terms, timeout, request.language)
                return await self._calls.read(self._found, opened, settings, request, terms, vectors)
            except SpaceMismatch:  # Another generation has become the current one; ask by its version.
                if attempt == _TRIES - 1:
                    break
        raise _in_change(name)

    async def similar(self, name: str, item: str, request: SearchRequest) -> SearchResult:
        """What is like an item of the collection, without the item itself.

        Raises:
            ApiError: as `search`; or there is no such item, or it has no vector.
        """
        return await self.search(name, replace(request, query="", terms=(Term(like=item),)))

    async def label(self, name: str, request: LabelRequest, timeout: float | None = None) -> Labelled:
        """Which of some labels items of the collection show, or none of them.

        Raises:
            ApiError: the request fails as a whole; it does if a label has no vector.
        """
        sentences = self._sentences(request)
        for attempt in range(_TRIES):
            opened, settings = await self._calls.find(name)
            try:
                language = request.language or ""
                found = await self._calls.embed(opened, settings, sentences, timeout, language)
                _require(found, "labels", lambda index: index // (len(sentences) // len(request.labels)))
                return await self._calls.read(self._labelled, opened, settings, request, found)
            except SpaceMismatch:
                if attempt == _TRIES - 1:
                    break
        raise _in_change(name)

    async def _vectors(
        self,
        opened: Opened,
        settings: Settings,
        terms: Sequence[Term],
        timeout: float | None,
        language: str,
    ) -> Vectors:
        """float32 [T, D]: of a term's text or image by the model, of an id by the index."""
        vectors = np.zeros((len(terms), settings.dim), np.float32)
        sent: dict[int, Item] = {}
        liked: dict[int, str] = {}
        for index, term in enumerate(terms):
            if term.like is not None:
                liked[index] = term.like
            else:
                sent[index] = term.text if term.text is not None else _image(term)
        if liked:
            rows = await self._calls.read(_stored, opened, list(liked.values()), settings)
            vectors[list(liked)] = rows
        if sent:
            places = list(sent)
            found = await self._calls.embed(opened, settings, list(sent.values()), timeout, language)
            _require(found, "terms", lambda index: places[index])
            vectors[places] = found.vectors
        return vectors

    def _found(
        self,
        opened: Opened,
        settings: Settings,
        request: SearchRequest,
        terms: Sequence[Term],
        vectors: Vectors,
    ) -> SearchResult:
        """In a thread: the rows, with near-duplicates folded."""
        try:
            vector = compose(vectors, [term.weight for term in terms])
        except InvalidQuery as error:
            raise malformed(str(error), "terms") from None
        query = Embeddings(vector[None], settings.space, settings.logit_scale, version=settings.version)
        index = opened.index

        def fetch(offset: int, top: int) -> Sequence[Hit]:
            return index.search(query, top=top, offset=offset, where=request.where, columns=COLUMNS)[0]

        calibration = self._calibration(opened, settings)
        curve = None
        if calibration is not None:
            curve = calibration.curve(
                kinds=["image" if term.text is None else "text" for term in terms],
                weights=[term.weight for term in terms],
                vectors=vectors,
                candidates=index.count(),
            )
        results: Results = page(
            fetch,
            top=request.top,
            offset=request.offset,
            threshold=_threshold(request.threshold, curve),
            cut=request.cut,
            curve=curve,
            diverse=request.diverse,
            exclude=[term.like for term in terms if term.like is not None],
        )
        return SearchResult(opened.record.name, settings, results)

    def _calibration(self, opened: Opened, settings: Settings) -> SearchCalibration | None:
        """That of the index, where one was measured for it, or else the gateway's of the space."""
        path = Path(opened.record.index) / FILE
        if path.is_file():
            try:
                own = read_search_calibration(path)
            except (ValueError, OSError) as error:
                _log.warning("the calibration of %s cannot be used: %s", opened.record.name, error)
            else:
                if own.space == settings.space:
                    return own
        return self._calibrations.get(settings.space)

    def _sentences(self, request: LabelRequest) -> list[str]:
        for field, texts in (("labels", request.labels), ("templates", request.templates or ())):
            if len(texts) > self._max_items:
                message = f'"{field}" holds {len(texts):,}; at most {self._max_items:,} are allowed'
                raise ApiError(413, "too_many_items", message, param=field)
            for index, text in enumerate(texts):
                if len(text) > MAX_LABEL:
                    message = f"{field}[{index}] has more than {MAX_LABEL:,} characters"
                    raise malformed(message, field)
        if len(request.labels) * len(request.templates or (None,)) > self._max_items:
            message = f"there are more than {self._max_items:,} labels, each counted once for each template"
            raise ApiError(413, "too_many_items", message, param="labels")
        try:
            sentences = label_sentences(request.labels, request.templates, request.language)
        except ValueError as error:
            raise malformed(str(error), "labels") from None
        if len(sentences) > self._max_items:
            message = f"there are more than {self._max_items:,} labels, each counted once for each template"
            raise ApiError(413, "too_many_items", message, param="labels")
        return sentences

    def _labelled(
        self, opened: Opened, settings: Settings, request: LabelRequest, sentences: Embeddings
    ) -> Labelled:
        """In a thread: the labels of rows that have a vector."""
        found = self._calibrations.get(settings.space)
        calibration = None if found is None else found.text
        if request.threshold is not None and calibration is None:
            message = (
                "there is no calibration of this model, without which a cosine does not say whether a label"
                ' fits at all; leave "threshold" out, or have the operator set calibrations'
            )
            raise malformed(message, "threshold")
        where: Mapping[str, Any] = {} if request.where is None else request.where
        if request.ids is not None:
            where = {"id": {"$in": list(request.ids)}}
        most = MAX_PAIRS // len(request.labels)
        ids: list[str] = []
        vectors: list[Vectors] = []
        for rows in opened.index.scan(where=where, columns=("id", "vector")):
            whole = [(row.id, row.vector) for row in rows if row.vector is not None]
            ids += [known for known, _ in whole]
            vectors += [vector for _, vector in whole]
            if len(ids) > most:
                message = f"so many labels can be given to {most:,} items at a time; filter for fewer"
                raise ApiError(413, "too_many_items", message, param="filter")
        if not ids:
            return Labelled(opened.record.name, settings, [])
        labels = list(request.labels)
        items = Embeddings(np.stack(vectors), settings.space, settings.logit_scale, version=settings.version)
        threshold = THRESHOLD if request.threshold is None else request.threshold
        answers = classify_embeddings(
            items, labels, label_embeddings(sentences, len(labels)), calibration, threshold
        )
        return Labelled(opened.record.name, settings, list(zip(ids, answers, strict=True)))


def _terms(request: SearchRequest) -> list[Term]:
    """The terms of a request, whose numbers are checked first."""
    if not 1 <= request.top <= MAX_TOP:
        raise malformed(f'"top" must be from 1 to {MAX_TOP:,}', "top")
    if not 0 <= request.offset <= MAX_OFFSET:
        raise malformed(f'"offset" must be from 0 to {MAX_OFFSET:,}', "offset")
    if len(request.query) > MAX_QUERY:
        raise malformed(f'"query" has more than {MAX_QUERY:,} characters', "query")
    terms = list(request.terms)
    try:
        if request.query:
            terms = [Term(text=term.text, weight=term.weight) for term in parse_query(request.query)]
        for term in terms:
            image = b"image" if term.image is not None else None
            QueryTerm(text=term.text, image=image, like=term.like, weight=term.weight)
    except InvalidQuery as error:
        raise malformed(str(error), "query" if request.query else "terms") from None
    if isinstance(request.threshold, float) and not -1 <= request.threshold <= 1:
        raise malformed('"threshold" is a cosine, from -1 to 1', "threshold")
    if not terms:
        raise malformed('the request must hold a "query", or "terms"', "query")
    if len(terms) > MAX_TERMS:
        raise ApiError(413, "too_many_items", f"a query has at most {MAX_TERMS} terms", param="terms")
    return terms


def _threshold(asked: float | Literal["auto"] | None, curve: MatchCurve | None) -> float | None:
    if asked == "auto":
        return None if curve is None else curve.threshold
    return asked


def _image(term: Term) -> bytes | ItemError:
    assert term.image is not None
    return term.image


def _stored(opened: Opened, ids: Sequence[str], settings: Settings) -> Vectors:
    """float32 [N, D] of rows.

    Raises:
        ApiError: there is no such row, or it has no vector.
        SpaceMismatch: the rows are of another space by now.
    """
    for known in ids:
        if not is_readable_id(known):
            raise ApiError(404, ITEM_NOT_FOUND, f"there is no item {known[:128]!r}", param="id")
    rows = opened.index.get(ids, columns=("vector",))
    if opened.index.settings.space != settings.space:
        raise SpaceMismatch("the collection has become one of another space")
    vectors = []
    for known, row in zip(ids, rows, strict=True):
        if row is None or row.vector is None:
            what = "there is no item" if row is None else "there is no vector of the item"
            raise ApiError(404, ITEM_NOT_FOUND, f"{what} {known[:128]!r}", param="id")
        vectors.append(row.vector)
    found: Vectors = np.stack(vectors)
    return found


def _require(found: Embeddings, field: str, place: Callable[[int], int]) -> None:
    if found.errors:
        failed = {place(error.index): error for error in reversed(found.errors)}
        raise items_failed({f"{field}[{index}]": failed[index] for index in sorted(failed)}, field)


def _in_change(name: str) -> ApiError:
    message = f"the collection {name} changes from one model to another; try again"
    return ApiError(503, "unavailable", message, retry_after=1)
