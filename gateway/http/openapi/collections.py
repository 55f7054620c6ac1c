"""The calls on collections in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]
_STRING: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_INTEGER: Schema = {"type": "integer"}
_OBJECT: Schema = {"type": "object"}
_STRINGS: Schema = {"type": "array", "items": _STRING}
_NAME = {"name": "collection", "in": "path", "required": True, "schema": _STRING}
_ITEM = {"name": "item", "in": "path", "required": True, "schema": _STRING}
_JOB = {"name": "job", "in": "path", "required": True, "schema": _STRING}
_LISTING: tuple[Schema, ...] = tuple(
    {"name": name, "in": "query", "description": text, "schema": schema}
    for name, text, schema in (
        ("after", "`next_after` of the page before", _STRING),
        ("limit", "items of a page", {**_INTEGER, "minimum": 1, "maximum": 1000, "default": 100}),
        ("filter", 'as JSON, such as {"album": "sea"}', _STRING),
        ("failed", "true for those alone that have no vector, false for all others", {"type": "boolean"}),
    )
)
_FILTER: Schema = {**_OBJECT, "description": 'such as {"album": "sea", "width": {"$gte": 1024}}'}
_SEARCH: Schema = {
    "top": {**_INTEGER, "minimum": 1, "maximum": 1000, "default": 20},
    "offset": {**_INTEGER, "minimum": 0, "description": "`next_offset` of the page before"},
    "filter": _FILTER,
    "diverse": {"type": "boolean", "description": "near-duplicates take one place", "default": True},
    "threshold": {
        "type": ["string", "number", "null"],
        "description": "auto, by the calibration; the least cosine of what fits; or null for none",
    },
    "cut": {"type": "boolean", "description": "leave out what does not fit", "default": False},
}
_IMAGE: Schema = {"type": ["string", "object"], "description": 'base64, a data URI, or {"url": …}'}
_TERM = {
    "type": "object",
    "properties": {"text": _STRING, "image": _IMAGE, "id": _STRING, "weight": _NUMBER},
}
_NEW_ITEM = {
    "type": "object",
    "properties": {
        "id": _STRING,
        "source": _STRING,
        "image": _IMAGE,
        "caption": _STRING,
        "metadata": _OBJECT,
    },
    "required": ["image"],
}


def paths(max_items: int, errors: Mapping[str, str]) -> dict[str, Any]:
    """The calls by their paths.

    Args:
        errors: what each status means that is none of success.
    """
    one, item = "/v1/collections/{collection}", "/v1/collections/{collection}/items/{item}"
    items = {"type": "array", "items": _NEW_ITEM, "minItems": 1, "maxItems": max_items}
    selection = {"ids": _STRINGS, "filter": _FILTER}
    new = {"name": _STRING, "fields": {**_OBJECT, "description": "metadata to filter by: name to type"}}
    jobs = {"kind": {"enum": ["dedup", "compact", "import", "migrate"]}}

    def call(
        summary: str, *parameters: Schema, fields: Schema | None = None, needs: tuple[str, ...] = ()
    ) -> Schema:
        refusals = {status: {"description": text} for status, text in errors.items()}
        found: Schema = {
            "summary": summary,
            "security": [{"key": []}],
            "responses": {"200": {"description": "Done."}, **refusals},
        }
        if parameters:
            found["parameters"] = list(parameters)
        if fields is not None:
            schema = {"type": "object", "properties": fields, "required": list(needs)}
            found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        return found

    adding = call(
        "Add images, each with an outcome of its own", _NAME, fields={"items": items}, needs=("items",)
    )
    adding["requestBody"]["content"] |= {
        "application/x-ndjson": {"schema": _NEW_ITEM},
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {"file": {"type": "array", "items": _STRING}}}
        },
    }
    query = {
        "query": {**_STRING, "description": "beach -people"},
        "terms": {"type": "array", "items": _TERM},
        "language": {**_STRING, "description": "of the texts, by BCP 47, for models that are told it"},
    }
    labels = {
        "labels": _STRINGS,
        "templates": _STRINGS,
        "language": _STRING,
        "threshold": _NUMBER,
        **selection,
    }
    return {
        "/v1/collections": {
            "get": call("The collections"),
            "post": call(
                "Make a collection of a model's space", fields={**new, "model": _STRING}, needs=("name",)
            ),
        },
        one: {
            "get": call("One collection", _NAME),
            "delete": call("Delete a collection with all that is in it", _NAME),
        },
        f"{one}/items": {
            "get": call("The items, page by page, in the order of their ids", _NAME, *_LISTING),
            "post": adding,
        },
        f"{one}/items/delete": {"post": call("Delete items by ids or a filter", _NAME, fields=selection)},
        item: {
            "get": call("One item", _NAME, _ITEM),
            "delete": call("Delete one item", _NAME, _ITEM),
        },
        f"{item}/thumbnail": {"get": call("A small JPEG of an item", _NAME, _ITEM)},
        f"{item}/content": {"get": call("The original of an item, where there is one", _NAME, _ITEM)},
        f"{one}/search": {
            "post": call("Search by texts, images and items", _NAME, fields={**query, **_SEARCH})
        },
        f"{one}/similar": {
            "post": call("What is like an item", _NAME, fields={"id": _STRING, **_SEARCH}, needs=("id",))
        },
        f"{one}/classify": {
            "post": call("Which of some labels items show", _NAME, fields=labels, needs=("labels",))
        },
        f"{one}/jobs": {"post": call("Begin a job", _NAME, fields=jobs, needs=("kind",))},
        "/v1/jobs": {"get": call("The jobs, the newest first")},
        "/v1/jobs/{job}": {
            "get": call("A job, and what came of it", _JOB),
            "delete": call("Have a job end soon", _JOB),
        },
    }
