"""Bodies of the calls on collections → what is asked of `gateway.collections`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from babelclip import ItemError
from gateway.collections.messages import LabelRequest, NewItem, SearchRequest, Term
from gateway.errors import INVALID_ITEM, malformed
from gateway.http.body import parse
from gateway.http.dialects import fields, items
from gateway.http.dialects.dialect import body_object, check_count, field_of

MAX_IDS = 10_000
_SEARCH = {"top", "offset", "filter", "diverse", "threshold", "cut"}
_LISTING = {"after", "limit", "filter", "failed"}
_ITEM = {"id", "source", "image", "caption", "metadata"}


@dataclass(frozen=True)
class Listing:
    """Which items are listed: so many after an id, as `Collections.items` has it."""

    after: str
    limit: int
    where: Mapping[str, Any] | None
    failed: bool | None


@dataclass(frozen=True)
class NewCollection:
    """A collection to be made; `model` is "" for the default."""

    name: str
    fields: Mapping[str, str]
    model: str


def read_collection(body: Any) -> NewCollection:
    """`{"name", "fields"?, "model"?}`

    Raises:
        ApiError: the body is none of this call; so do the others.
    """
    body = only(body, {"name", "fields", "model"})
    if "name" not in body:
        raise malformed('the body must hold a "name"', "name")
    found = field_of(body, "fields", dict, 'an object such as {"album": "text"}', {})
    for kind in found.values():
        if not isinstance(kind, str):
            raise malformed(f'"fields" must hold the types of fields, not {items.named(kind)}', "fields")
    return NewCollection(
        field_of(body, "name", str, "a string", ""), found, field_of(body, "model", str, "a string", "")
    )


def read_listing(query: Mapping[str, str]) -> Listing:
    """`?after=ID&limit=100&filter={…}&failed=false`, each of which may be absent

    `failed` is for those that have no vector: true for them alone, false for all others.

    Raises:
        ApiError: one of them is not valid, or there is another.
    """
    if extra := set(query) - _LISTING:
        raise malformed(f"this call takes {', '.join(sorted(_LISTING))}, and no {min(extra)[:32]!r}")
    limit = query.get("limit", "100")
    if not limit.isascii() or not limit.isdecimal() or len(limit) > 9:
        raise malformed('"limit" must be a whole number', "limit")
    where = None
    if "filter" in query:
        where = parse(query["filter"].encode())
        if not isinstance(where, dict):
            raise malformed(f'"filter" must be an object, not {items.named(where)}', "filter")
    if query.get("failed", "true") not in ("true", "false"):
        raise malformed('"failed" must be true or false', "failed")
    failed = query["failed"] == "true" if "failed" in query else None
    return Listing(query.get("after", ""), int(limit), where, failed)


def read_items(body: Any, max_items: int) -> list[NewItem]:
    """`{"items": [{"id"?, "source"?, "image", "caption"?, "metadata"?}]}`; an item at fault has its error."""
    body = only(body, {"items"})
    listed = field_of(body, "items", list, "a list of objects", None)
    if listed is None:
        raise malformed('the body must hold "items"', "items")
    check_count(len(listed), max_items, "items")
    return [read_item(item) for item in listed]


def read_item(value: Any) -> NewItem:
    """One item; what is wrong with it is its `image`."""
    if not isinstance(value, dict):
        return fault(f"an item must be an object, not {items.named(value)}")
    if extra := set(value) - _ITEM:
        allowed = ", ".join(sorted(_ITEM))
        return fault(
            f"an item has {allowed}, and no {items.named({min(extra): 0})[len('an object with ') :]}"
        )
    for name in ("id", "source", "caption"):
        if not isinstance(value.get(name) or "", str):
            return fault(f'"{name}" must be a string, not {items.named(value[name])}')
    metadata = value.get("metadata") or {}
    if not isinstance(metadata, dict):
        return fault(f'"metadata" must be an object, not {items.named(metadata)}')
    if value.get("image") is None:
        return fault('an item must hold an "image"')
    image = items.read({"image": value["image"]})
    assert not isinstance(image, str)
    return NewItem(
        image,
        id=value.get("id") or "",
        source=value.get("source") or "",
        caption=value.get("caption") or "",
        metadata=metadata,
    )


def read_search(body: Any, max_items: int) -> SearchRequest:
    """`{"query" | "terms", "top"?, "offset"?, "filter"?, "diverse"?, "threshold"?, "cut"?}`"""
    body = only(body, _SEARCH | {"query", "terms", "language"})
    if ("query" in body) == ("terms" in body):
        raise malformed('the body must hold either "query" or "terms"', "query")
    terms: list[Term] = []
    if "terms" in body:
        listed = field_of(body, "terms", list, "a list of objects", [])
        check_count(len(listed), max_items, "terms")
        terms = [_term(value, index) for index, value in enumerate(listed)]
    return _search(body, field_of(body, "query", str, "a string", ""), terms)


def read_similar(body: Any) -> tuple[str, SearchRequest]:
    """`{"id", …}` with what a search has → the id, and the search."""
    body = only(body, _SEARCH | {"id"})
    item = field_of(body, "id", str, "a string", None)
    if item is None:
        raise malformed('the body must hold the "id" of an item', "id")
    return item, _search(body, "", [])


def read_labels(body: Any, max_items: int) -> LabelRequest:
    """`{"labels", "ids" | "filter", "templates"?, "language"?, "threshold"?}`"""
    body = only(body, {"labels", "ids", "filter", "templates", "language", "threshold"})
    ids, where = chosen_items(body)
    return LabelRequest(
        labels=fields.strings_of(body, "labels", max_items) or (),
        ids=ids,
        where=where,
        templates=fields.strings_of(body, "templates", max_items),
        language=field_of(body, "language", str, "a string", None),
        threshold=fields.number_of(body, "threshold"),
    )


def read_selection(body: Any) -> tuple[list[str] | None, dict[str, Any] | None]:
    """`{"ids"}` or `{"filter"}`"""
    return chosen_items(only(body, {"ids", "filter"}))


def read_job(body: Any) -> tuple[str, dict[str, Any]]:
    """`{"kind", …}` → the kind, and what else there is, which the kind itself checks"""
    found = dict(body_object(body))
    kind = field_of(found, "kind", str, "a string", "")
    found.pop("kind", None)
    return kind, found


def chosen_items(body: Mapping[str, Any]) -> tuple[list[str] | None, dict[str, Any] | None]:
    """The ids or the filter of a body, which must hold one of them."""
    if (body.get("ids") is None) == (body.get("filter") is None):
        raise malformed('the body must hold either "ids" or a "filter"', "ids")
    return fields.strings_of(body, "ids", MAX_IDS), field_of(body, "filter", dict, "an object", None)


def only(body: Any, allowed: set[str]) -> dict[str, Any]:
    """A body that is an object with no other fields: one that is misspelt would be passed over."""
    found = body_object(body)
    if extra := set(found) - allowed:
        named = items.named({min(extra): 0}).removeprefix("an object with ")
        raise malformed(f"this call takes {', '.join(sorted(allowed))}, and no {named}")
    return found


def _search(body: Mapping[str, Any], query: str, terms: list[Term]) -> SearchRequest:
    threshold: float | Literal["auto"] | None = "auto"
    if body.get("threshold", "auto") != "auto":
        threshold = None if body["threshold"] is None else float(_number(body, "threshold"))
    return SearchRequest(
        query=query,
        terms=terms,
        top=field_of(body, "top", int, "a whole number", 20),
        offset=field_of(body, "offset", int, "a whole number", 0),
        where=field_of(body, "filter", dict, "an object", None),
        diverse=field_of(body, "diverse", bool, "true or false", True),
        threshold=threshold,
        cut=field_of(body, "cut", bool, "true or false", False),
        language=field_of(body, "language", str, "a string", ""),
    )


def _number(body: Mapping[str, Any], field: str) -> float:
    value = body[field]
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15:
        raise malformed(f'"{field}" must be "auto", null or a number, not {items.named(value)}', field)
    return float(value)


def _term(value: Any, index: int) -> Term:
    place = f"terms[{index}]"
    if not isinstance(value, dict):
        raise malformed(f"{place} must be an object, not {items.named(value)}", "terms")
    kinds = [kind for kind in ("text", "image", "id") if value.get(kind) is not None]
    if len(kinds) != 1 or set(value) - {"text", "image", "id", "weight"}:
        raise malformed(
            f'{place} must hold one of "text", "image" and "id", and may hold a "weight"', "terms"
        )
    weight = value.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or abs(weight) > 1000:
        raise malformed(f'{place}: "weight" must be a number from -1000 to 1000', "terms")
    (kind,) = kinds
    if kind == "image":
        image = items.read({"image": value["image"]})
        assert not isinstance(image, str)
        return Term(image=image, weight=float(weight))
    if not isinstance(value[kind], str):
        raise malformed(f'{place}: "{kind}" must be a string, not {items.named(value[kind])}', "terms")
    if kind == "id":
        return Term(like=value["id"], weight=float(weight))
    return Term(text=value["text"], weight=float(weight))


def fault(message: str) -> NewItem:
    """An item that says of itself why it is none."""
    return NewItem(ItemError(0, INVALID_ITEM, message))
