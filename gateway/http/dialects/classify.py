"""`POST /v1/classify`: which of some labels, in any language, an image shows; or none of them.

    {"model": "clip", "input": ["data:image/jpeg;base64,…"], "labels": ["Katze", "Hund"], "language": "de"}
    {"model": "clip", "input": ["…"], "modality": "image", "labels": ["cat", "dog"],
     "templates": ["a photo of a {}.", "a drawing of a {}."], "threshold": 0.5, "top": 3}

    {"object": "list", "model": "clip@1.0", "space": "…", "logit_scale": 100.0, "data": [
      {"object": "classification", "index": 0, "label": "Katze", "best": "Katze", "probability": 0.97,
       "match": 0.91, "scores": [{"label": "Katze", "cosine": 0.31, "probability": 0.97}, …]}, …],
     "truncated": [], "unknown": [], "truncated_labels": [], "unknown_labels": []}

`label` is null where nothing matches, which takes a calibration; `match` is null without one, and for a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from babelclip import Classification
from gateway.errors import items_failed, malformed
from gateway.http.dialects import fields
from gateway.http.dialects.dialect import body_object, choice_of, field_of
from gateway.scoring.messages import Classified, ClassifyRequest


@dataclass(frozen=True)
class Asked:
    """A request, read.

    Attributes:
        model: NAME, NAME@VERSION, or "" for the default.
        top: how many labels of each item are told, best first; None for all.
        keep: an item that fails leaves the others their labels.
    """

    model: str
    request: ClassifyRequest
    top: int | None
    keep: bool


def read(body: Any, max_items: int) -> Asked:
    """The parsed body of a request.

    Raises:
        ApiError: the body as a whole is none of this call.
    """
    body = body_object(body)
    for field in ("input", "labels"):
        if field not in body:
            raise malformed('the body must hold "input", the items, and "labels"', field)
    top = field_of(body, "top", int, "a whole number", None)
    if top is not None and top < 1:
        raise malformed('"top" must be at least 1', "top")
    return Asked(
        model=field_of(body, "model", str, "a string", ""),
        request=ClassifyRequest(
            items=fields.items_of(body, "input", max_items, choice_of(body, "modality", "text", "image")),
            labels=fields.strings_of(body, "labels", max_items) or (),
            templates=fields.strings_of(body, "templates", max_items),
            language=field_of(body, "language", str, "a string", None),
            threshold=fields.number_of(body, "threshold"),
            space=field_of(body, "space", str, "a string", ""),
        ),
        top=top,
        keep=choice_of(body, "errors", "raise", "return") == "return",
    )


def render(asked: Asked, found: Classified) -> bytes:
    """The answer, as JSON.

    Raises:
        ApiError: an item failed, and the request is one that fails with it.
    """
    if found.items.errors and not asked.keep:
        raise items_failed({f"input[{error.index}]": error for error in found.items.errors}, "input")
    answer = {
        "object": "list",
        "model": found.model,
        "space": found.version.space,
        "logit_scale": found.version.logit_scale,
        "data": [_row(index, answer, asked.top) for index, answer in enumerate(found.answers)],
        "truncated": found.items.truncated,
        "unknown": found.items.unknown,
        "truncated_labels": found.truncated_labels,
        "unknown_labels": found.unknown_labels,
    }
    return orjson.dumps(answer)


def _row(index: int, answer: Classification, top: int | None) -> Mapping[str, Any]:
    row: dict[str, Any] = {"object": "classification", "index": index, "label": answer.label}
    if answer.error is not None:
        return {**row, "error": {"code": answer.error.code, "message": answer.error.message}}
    best = sorted(answer.cosines, key=lambda label: -answer.cosines[label])[:top]
    scores = [
        {"label": label, "cosine": answer.cosines[label], "probability": answer.probabilities[label]}
        for label in best
    ]
    return {
        **row,
        "best": answer.best,
        "probability": answer.probability,
        "match": answer.match,
        "scores": scores,
    }
