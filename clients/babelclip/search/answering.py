"""The answer to a query whose terms have vectors, from whatever ranks rows by a vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from babelclip.embeddings import Vectors
from babelclip.index.base import Hit
from babelclip.search.diversity import NEAR, Near
from babelclip.search.query import MAX_TERMS, InvalidQuery, Results, Term, compose, page
from babelclip.search.relevance import Kind, MatchCurve, SearchCalibration

if TYPE_CHECKING:
    from babelclip.client.sync import Client

Threshold = float | Literal["auto"] | None
"""The least cosine of a hit: by the calibration, or a cosine, or none."""


@dataclass(frozen=True)
class QueryVectors:
    """The terms of a query, embedded.

    Attributes:
        vectors: float32 [D] of each term; None for one that is a row of an index.
        truncated, unknown: as in `Results`.
    """

    vectors: tuple[Vectors | None, ...]
    truncated: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def embed_terms(client: Client, terms: Sequence[Term], language: str | None = None) -> QueryVectors:
    """The vectors of texts and images.

    Args:
        language: that of the texts, as in `Client.embed_texts`.

    Raises:
        ItemErrors, BabelclipError: a term could not be embedded, as in `Client.embed_texts`.
    """
    texts = {n: term.text for n, term in enumerate(terms) if term.text is not None}
    images = {n: term.image for n, term in enumerate(terms) if term.image is not None}
    vectors: list[Vectors | None] = [None] * len(terms)
    truncated: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    if texts:
        asked = list(texts.values())
        found = client.embed_texts(asked, language=language)
        truncated = tuple(asked[n] for n in found.truncated)
        unknown = tuple(asked[n] for n in found.unknown)
        for n, vector in zip(texts, found.vectors, strict=True):
            vectors[n] = vector
    if images:
        for n, vector in zip(images, client.embed_images(images.values()).vectors, strict=True):
            vectors[n] = vector
    return QueryVectors(tuple(vectors), truncated, unknown)


def check_terms(terms: Sequence[Term]) -> None:
    """Raises InvalidQuery unless there are 1 to MAX_TERMS terms."""
    if not 1 <= len(terms) <= MAX_TERMS:
        raise InvalidQuery(f"a query has 1 to {MAX_TERMS} terms, not {len(terms)}")


def check_threshold(threshold: Threshold) -> None:
    """Raises InvalidQuery unless it is "auto", None or a cosine."""
    if threshold is None or threshold == "auto":
        return
    if isinstance(threshold, str) or not (math.isfinite(threshold) and -1 <= threshold <= 1):
        raise InvalidQuery(f'threshold must be "auto", null or a cosine from -1 to 1, not {threshold!r}')


def answer(
    rank: Callable[[Vectors, int, int], Sequence[Hit]],
    terms: Sequence[Term],
    vectors: Vectors,
    *,
    calibration: SearchCalibration | None,
    candidates: int,
    top: int,
    offset: int,
    diverse: bool,
    threshold: Threshold,
    near: Near = NEAR,
) -> Results:
    """One page of what fits a query.

    Args:
        rank: (query, offset, top) → hits, best first; the query is float32 [D], of length 1.
        vectors: float32 [T, D] of the terms, each of length 1.
        candidates: rows that are compared.

    Raises:
        InvalidQuery: the terms cancel each other out, or an argument is out of range.
    """
    weights = [term.weight for term in terms]
    query = compose(vectors, weights)
    curve: MatchCurve | None = None
    if calibration is not None:
        kinds: list[Kind] = ["image" if term.text is None else "text" for term in terms]
        curve = calibration.curve(kinds=kinds, weights=weights, vectors=vectors, candidates=candidates)
    line = threshold if isinstance(threshold, int | float) else curve.threshold if curve else None
    return page(
        lambda offset, top: rank(query, offset, top),
        top=top,
        offset=offset,
        threshold=line,
        cut=threshold is not None,
        curve=curve,
        diverse=diverse,
        near=near,
        exclude={term.like for term in terms if term.like is not None and term.weight > 0},
    )
