"""Embeds both sides of a request together, and scores them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from babelclip import Classification, Embeddings, ItemError, similarity
from babelclip.search.classify import THRESHOLD, classify_embeddings, label_embeddings, label_sentences
from babelclip.search.ranking import softmax
from babelclip.search.relevance import SearchCalibration, read_search_calibration
from gateway.embedding import Item, embed
from gateway.errors import ApiError, items_failed, malformed
from gateway.fetch import ImageAddress
from gateway.metrics import Metrics
from gateway.models import Chosen
from gateway.scoring.messages import (
    Classified,
    ClassifyRequest,
    Ranked,
    Reranked,
    RerankRequest,
    Scores,
    Similarity,
    SimilarityRequest,
)
from gateway.settings import Settings
from gateway.towers.base import ModelVersion

MAX_PAIRS = 250_000
"""Scores of an answer: queries times candidates, or items times labels. Three numbers for each of so many
stay below the 4 MiB that gRPC's clients take unless told otherwise."""
MAX_LABEL = 1_000
"""Characters of a label or a template, so that each label in each template stays small."""
_LANGUAGE = 16  # characters of a code that a message repeats
# Above this many pairs what is to be done with them is done in a thread.
_MANY_PAIRS = 10_000

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Scorer:
    """Answers the three calls.

    Raises:
        ValueError: a file of the settings is no calibration.
        OSError: it cannot be read.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._max_items = settings.max_items
        self._metrics = metrics
        found = read_calibrations(settings.calibrations)
        self._calibrations = {space: each.text for space, each in found.items() if each.text is not None}

    async def similarity(
        self, chosen: Chosen, request: SimilarityRequest, timeout: float | None = None
    ) -> Similarity:
        """Every query with every candidate.

        Raises:
            ApiError: the request fails as a whole.
        """
        _require("queries", request.queries)
        _require("candidates", request.candidates)
        pairs = self._bounded(len(request.queries), len(request.candidates), len(request.candidates))
        version, found = await self._embed(chosen, [*request.queries, *request.candidates], request, timeout)
        return await apart(pairs, self._compare, chosen, request, version, found)

    async def classify(
        self, chosen: Chosen, request: ClassifyRequest, timeout: float | None = None
    ) -> Classified:
        """The best label of each item.

        Raises:
            ApiError: the request fails as a whole; it does if a label has no vector.
        """
        _require("items", request.items)
        threshold = THRESHOLD if request.threshold is None else request.threshold
        if not 0 <= threshold <= 1:
            raise malformed('"threshold" must be from 0 to 1', "threshold")
        sentences = self._sentences(request)
        pairs = self._bounded(len(request.items), len(request.labels), len(sentences))
        version, found = await self._embed(chosen, [*request.items, *sentences], request, timeout)
        if request.threshold is not None and version.space not in self._calibrations:
            message = (
                "there is no calibration of this model, without which a cosine does not say whether a label"
                ' fits at all; leave "threshold" out, or have the operator set calibrations'
            )
            raise malformed(message, "threshold")
        return await apart(pairs, self._label, chosen, request, threshold, version, found)

    async def rerank(self, chosen: Chosen, request: RerankRequest, timeout: float | None = None) -> Reranked:
        """The documents, best first.

        Raises:
            ApiError: the request fails as a whole; it does if the query has no vector.
        """
        _require("documents", request.documents)
        if isinstance(request.query, ItemError) and not isinstance(request.query, ImageAddress):
            raise items_failed({"query": request.query}, "query")
        if request.top_n is not None and request.top_n < 1:
            raise malformed('"top_n" must be at least 1', "top_n")
        pairs = self._bounded(1, len(request.documents), len(request.documents))
        version, found = await self._embed(chosen, [request.query, *request.documents], request, timeout)
        return await apart(pairs, self._rank, chosen, request, version, found)

    def _sentences(self, request: ClassifyRequest) -> list[str]:
        """Each label in each template; none is made where they would become too many, or too long."""
        if request.language is not None and len(request.language) > _LANGUAGE:
            raise malformed('"language" must be an ISO 639-1 code, such as "de"', "language")
        for field, texts in (("labels", request.labels), ("templates", request.templates or ())):
            for index, text in enumerate(texts):
                if len(text) > MAX_LABEL:
                    message = (
                        f"{field}[{index}] has {len(text):,} characters; at most {MAX_LABEL:,} are allowed"
                    )
                    raise malformed(message, field)
        sentences = len(request.labels) * len(request.templates or (None,))
        self._bounded(len(request.items), len(request.labels), sentences)
        try:
            return label_sentences(request.labels, request.templates, request.language)
        except ValueError as error:
            raise malformed(str(error), "labels") from None

    def _compare(
        self, chosen: Chosen, request: SimilarityRequest, version: ModelVersion, found: Embeddings
    ) -> Similarity:
        count = len(request.queries)
        queries, candidates = found[:count], found[count:]
        cosines = similarity(queries, candidates).astype(np.float64)
        return Similarity(
            model=_named(chosen, version),
            version=version,
            queries=queries,
            candidates=candidates,
            cosines=cosines,
            probabilities=_probabilities(version.logit_scale * cosines, queries, candidates),
            matches=self._matches(cosines, request.queries, request.candidates, version.space),
        )

    def _label(
        self,
        chosen: Chosen,
        request: ClassifyRequest,
        threshold: float,
        version: ModelVersion,
        found: Embeddings,
    ) -> Classified:
        count, labels = len(request.items), list(request.labels)
        items, sentences = found[:count], found[count:]
        each = len(sentences) // len(labels)
        if sentences.errors:
            failed = {error.index // each: error for error in reversed(sentences.errors)}
            raise items_failed({f"labels[{index}]": failed[index] for index in sorted(failed)}, "labels")
        vectors = label_embeddings(sentences, len(labels))
        answers: list[Classification] = [Classification(None, 0.0, None, None, {})] * count
        # What a cosine of two texts means is another matter, and not measured.
        images = _are_images(request.items)
        for mask, calibration in ((images, self._calibrations.get(version.space)), (~images, None)):
            classified = classify_embeddings(items[mask], labels, vectors, calibration, threshold)
            for index, answer in zip(np.flatnonzero(mask).tolist(), classified, strict=True):
                answers[index] = answer
        return Classified(
            model=_named(chosen, version),
            version=version,
            items=items,
            answers=answers,
            truncated_labels=sorted({index // each for index in sentences.truncated}),
            unknown_labels=sorted({index // each for index in sentences.unknown}),
        )

    def _rank(
        self, chosen: Chosen, request: RerankRequest, version: ModelVersion, found: Embeddings
    ) -> Reranked:
        query, documents = found[:1], found[1:]
        if query.errors:
            raise items_failed({"query": query.errors[0]}, "query")
        cosines = similarity(query, documents).astype(np.float64)
        matches = self._matches(cosines, [request.query], request.documents, version.space)
        order = np.argsort(-cosines[0], kind="stable")  # NaN, of what has failed, comes last.
        best = order[: int(documents.ok.sum())][: request.top_n].tolist()
        results = [
            Ranked(index, float(cosines[0, index]), None if matches is None else _number(matches[0, index]))
            for index in best
        ]
        return Reranked(_named(chosen, version), version, query, documents, results)

    def _matches(
        self, cosines: Scores, queries: Sequence[Item], candidates: Sequence[Item], space: str
    ) -> Scores | None:
        calibration = self._calibrations.get(space)
        if calibration is None:
            return None
        across = _are_images(queries)[:, None] != _are_images(candidates)[None]
        measured = across & ~np.isnan(cosines)
        matches: Scores = np.full(cosines.shape, np.nan)
        matches[measured] = calibration.probability(cosines[measured])
        return matches

    def _bounded(self, rows: int, columns: int, embedded: int) -> int:
        """How many pairs there are, where neither these nor what is to be embedded are too many."""
        if rows + embedded > self._max_items:
            message = (
                f"the request has {rows + embedded:,} items to embed, a label once for each template;"
                f" at most {self._max_items:,} are allowed"
            )
            raise ApiError(413, "too_many_items", message)
        if rows * columns > MAX_PAIRS:
            message = f"the request has {rows * columns:,} pairs to score; at most {MAX_PAIRS:,} are allowed"
            raise ApiError(413, "too_many_items", message)
        return rows * columns

    async def _embed(
        self,
        chosen: Chosen,
        items: Sequence[Item],
        request: SimilarityRequest | ClassifyRequest | RerankRequest,
        timeout: float | None,
    ) -> tuple[ModelVersion, Embeddings]:
        version, found = await embed(
            chosen, items, language=request.language or "", space=request.space, timeout=timeout
        )
        self._metrics.items(chosen.name, items, found)
        return version, found


def read_calibrations(paths: Iterable[str]) -> Mapping[str, SearchCalibration]:
    """The calibrations of these files, by the space that each was measured in.

    Raises:
        ValueError: a file is none, or two are of one space.
        OSError: it cannot be read.
    """
    found: dict[str, SearchCalibration] = {}
    for path in paths:
        calibration = read_search_calibration(path)
        if calibration.space in found:
            raise ValueError(f"calibrations: {path} is the second one of the space {calibration.space}")
        found[calibration.space] = calibration
    return found


async def apart(
    pairs: int, work: Callable[Arguments, Result], *given: Arguments.args, **named: Arguments.kwargs
) -> Result:
    """What `work` returns; it is called in a thread where so many pairs would keep others waiting."""
    if pairs > _MANY_PAIRS:
        return await asyncio.to_thread(work, *given, **named)
    return work(*given, **named)


def _probabilities(logits: Scores, queries: Embeddings, candidates: Embeddings) -> Scores:
    """[Q, C] → the softmax of each row over the candidates that have a vector."""
    whole = np.ix_(queries.ok, candidates.ok)
    probabilities: Scores = np.full(logits.shape, np.nan)
    if logits[whole].size:
        probabilities[whole] = softmax(logits[whole])
    return probabilities


def _are_images(items: Sequence[Item]) -> NDArray[np.bool_]:
    """Which items are no texts: an image may also be one that is fetched by its address."""
    return np.array([not isinstance(item, str) for item in items])


def _require(field: str, items: Sequence[Any]) -> None:
    if not items:
        raise ApiError(400, "empty_request", f'"{field}" must hold at least one item', param=field)


def _named(chosen: Chosen, version: ModelVersion) -> str:
    return f"{chosen.name}@{version.version}" if version.version else chosen.name


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
