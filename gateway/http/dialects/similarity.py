"""`POST /v1/similarity`: every query with every candidate, texts or images.

    {"model": "clip", "queries": ["…", {"image": "…"}], "candidates": ["…", …]}
    {"model": "clip", "images": ["base64", …], "texts": ["…", …]}            the images are the queries

    {"object": "similarity", "model": "clip@1.0", "space": "…", "logit_scale": 100.0,
     "cosines": [[0.31, …], …], "probabilities": [[0.93, …], …], "matches": [[0.88, …], …] or null,
     "queries": {"errors": [], "truncated": [], "unknown": []}, "candidates": {…}}

A row stands for a query. Its probabilities are over the candidates; images and texts in this order are CLIP's
`logits_per_image`, and texts as queries with images as candidates its `logits_per_text`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from babelclip import Embeddings
from gateway.errors import items_failed, malformed
from gateway.http.dialects import fields
from gateway.http.dialects.dialect import body_object, choice_of, error_entries, field_of
from gateway.scoring.messages import Scores, Similarity, SimilarityRequest

# The names that the two sides may have, and what a string is on each.
_SIDES = ((("queries", "text"), ("candidates", "text")), (("images", "image"), ("texts", "text")))


@dataclass(frozen=True)
class Asked:
    """A request, read.

    Attributes:
        model: NAME, NAME@VERSION, or "" for the default.
        names: what the body calls the two sides.
        keep: an item that fails leaves the others their scores.
    """

    model: str
    request: SimilarityRequest
    names: tuple[str, str]
    keep: bool


def read(body: Any, max_items: int) -> Asked:
    """The parsed body of a request.

    Raises:
        ApiError: the body as a whole is none of this call.
    """
    body = body_object(body)
    given = [pair for pair in _SIDES if all(name in body for name, _ in pair)]
    if len(given) != 1 or any(name in body for pair in _SIDES if pair not in given for name, _ in pair):
        raise malformed('the body must hold "queries" and "candidates", or "images" and "texts"')
    (rows, rows_are), (columns, columns_are) = given[0]
    return Asked(
        model=field_of(body, "model", str, "a string", ""),
        request=SimilarityRequest(
            queries=fields.items_of(body, rows, max_items, rows_are),
            candidates=fields.items_of(body, columns, max_items, columns_are),
            space=field_of(body, "space", str, "a string", ""),
            language=field_of(body, "language", str, "a string", ""),
        ),
        names=(rows, columns),
        keep=choice_of(body, "errors", "raise", "return") == "return",
    )


def render(asked: Asked, found: Similarity) -> bytes:
    """The answer, as JSON.

    Raises:
        ApiError: an item failed, and the request is one that fails with it.
    """
    sides = dict(zip(asked.names, (found.queries, found.candidates), strict=True))
    failed = {f"{name}[{error.index}]": error for name, side in sides.items() for error in side.errors}
    if failed and not asked.keep:
        raise items_failed(failed, next(name for name, side in sides.items() if side.errors))
    answer = {
        "object": "similarity",
        "model": found.model,
        "space": found.version.space,
        "logit_scale": found.version.logit_scale,
        "cosines": _rows(found.cosines),
        "probabilities": _rows(found.probabilities),
        "matches": None if found.matches is None else _rows(found.matches),
        **{name: _outcomes(side) for name, side in sides.items()},
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _rows(scores: Scores) -> Any:
    # NaN becomes null; of float32 the shortest numbers are written.
    return scores.astype(np.float32)


def _outcomes(side: Embeddings) -> dict[str, Any]:
    return {"errors": error_entries(side.errors), "truncated": side.truncated, "unknown": side.unknown}
