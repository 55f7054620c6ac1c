"""What is asked of the scorer, and what it answers: one form for every way in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from babelclip import Classification, Embeddings
from gateway.embedding import Item
from gateway.towers.base import ModelVersion

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class SimilarityRequest:
    """Q queries and C candidates, texts or images; every query is compared with every candidate.

    Attributes:
        language: that of all texts, by BCP 47; "" for the model's default.
    """

    queries: Sequence[Item]
    candidates: Sequence[Item]
    space: str = ""
    language: str = ""


@dataclass(frozen=True)
class Similarity:
    """Scores of Q queries with C candidates; NaN where either has no vector.

    Attributes:
        model: NAME@VERSION that answered.
        queries, candidates: what became of each; `errors` and `truncated` are theirs.
        cosines: [Q, C], from -1 to 1.
        probabilities: [Q, C]; each row sums to 1 over the candidates that have a vector.
        matches: [Q, C], the probability that the two belong together, at even odds; NaN where both are texts
            or both images, None without a calibration.
    """

    model: str
    version: ModelVersion
    queries: Embeddings
    candidates: Embeddings
    cosines: Scores
    probabilities: Scores
    matches: Scores | None


@dataclass(frozen=True)
class ClassifyRequest:
    """Items to be given one of some labels; `babelclip.Classifier` has what the fields mean."""

    items: Sequence[Item]
    labels: Sequence[str]
    templates: Sequence[str] | None = None
    language: str | None = None
    threshold: float | None = None
    space: str = ""


@dataclass(frozen=True)
class Classified:
    """A classification of each item, one that has failed included.

    Attributes:
        model: NAME@VERSION that answered.
        items: what became of each; `errors` and `truncated` are theirs.
        answers: one for each item. Its `match` is None without a calibration, and for a text.
        truncated_labels, unknown_labels: indices of the labels with a sentence that was cut, or has letters
            that the model does not know.
    """

    model: str
    version: ModelVersion
    items: Embeddings
    answers: Sequence[Classification]
    truncated_labels: Sequence[int]
    unknown_labels: Sequence[int]


@dataclass(frozen=True)
class RerankRequest:
    """Documents to be ranked by how well they fit the query; `top_n` of them come back, None for all.

    Attributes:
        language: that of all texts, by BCP 47; "" for the model's default.
    """

    query: Item
    documents: Sequence[Item]
    top_n: int | None = None
    space: str = ""
    language: str = ""


@dataclass(frozen=True)
class Ranked:
    """A document by its place in the request.

    Attributes:
        score: the cosine with the query.
        match: the probability that the two belong together, at even odds; None without a calibration, and
            where both are texts or both images.
    """

    index: int
    score: float
    match: float | None


@dataclass(frozen=True)
class Reranked:
    """The documents that have a vector, best first.

    Attributes:
        model: NAME@VERSION that answered.
        documents: what became of each; `errors` and `truncated` are theirs.
        query: what became of it.
    """

    model: str
    version: ModelVersion
    query: Embeddings
    documents: Embeddings
    results: Sequence[Ranked]
