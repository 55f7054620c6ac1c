"""JSON of the calls on collections → types.

What is no such answer raises KeyError, TypeError, ValueError, AttributeError or OverflowError.
"""

from __future__ import annotations

from typing import Any

from babelclip.collections.messages import (
    AddOutcome,
    CollectionHit,
    CollectionInfo,
    CollectionItem,
    CollectionResults,
    ItemLabel,
    ItemPage,
    Job,
)

_STATES = ("running", "done", "failed", "cancelled")


def collection(told: Any) -> CollectionInfo:
    """A collection as it is listed."""
    return CollectionInfo(
        name=str(told["name"]),
        model=str(told["model"]),
        state=str(told["state"]),
        space=str(told.get("space") or ""),
        version=str(told.get("version") or ""),
        dim=int(told.get("dim") or 0),
        items=int(told.get("items") or 0),
        failed=int(told.get("failed") or 0),
        fields={str(name): str(kind) for name, kind in (told.get("fields") or {}).items()},
        method=str(told.get("method") or ""),
        recall_at_10=_number(told.get("recall_at_10")),
    )


def outcomes(told: Any) -> list[AddOutcome]:
    """What became of each item that was sent."""
    return [
        AddOutcome(str(one["id"] or ""))
        if one["status"] == "added"
        else AddOutcome(str(one["id"] or ""), str(one["code"]), str(one["message"]))
        for one in told["items"]
    ]


def item(told: Any) -> CollectionItem:
    """An item by itself."""
    error = told.get("error") or {}
    return CollectionItem(
        **_item(told), code=str(error.get("code", "")), message=str(error.get("message", ""))
    )


def page(told: Any) -> ItemPage:
    """A page of a collection's items."""
    following = told["next_after"]
    return ItemPage(
        items=tuple(item(one) for one in told["items"]),
        next_after=None if following is None else str(following),
    )


def results(told: Any) -> CollectionResults:
    """The hits of a search."""
    following = told["next_offset"]
    return CollectionResults(
        hits=tuple(
            CollectionHit(
                **_item(hit),
                score=float(hit["score"]),
                match=_number(hit["match"]),
                duplicates=tuple(str(one) for one in hit["duplicates"]),
            )
            for hit in told["hits"]
        ),
        threshold=_number(told["threshold"]),
        fits=bool(told["fits"]),
        next_offset=None if following is None else int(following),
        space=str(told["space"]),
        version=str(told["version"]),
    )


def labels(told: Any) -> list[ItemLabel]:
    """The label of each item."""
    return [_label(str(one["id"]), one) for one in told["items"]]


def image_label(told: Any) -> ItemLabel:
    """The label of an image that is no item."""
    (one,) = told["data"]
    return _label("", one)


def deleted(told: Any) -> int:
    """How many items there were."""
    return int(told["deleted"])


def job(told: Any) -> Job:
    """A job, as it is now."""
    error, total, state = told["error"] or {}, told["total"], told["state"]
    if state not in _STATES:
        raise ValueError(f"a job is one of {', '.join(_STATES)}, not {state!r}")
    return Job(
        id=str(told["id"]),
        collection=str(told["collection"]),
        kind=str(told["kind"]),
        state=state,
        done=int(told["done"]),
        total=None if total is None else int(total),
        result=told["result"],
        code=str(error.get("code", "")),
        message=str(error.get("message", "")),
    )


def _item(told: Any) -> dict[str, Any]:
    return {
        "id": str(told["id"]),
        "source": str(told["source"]),
        "kind": str(told["kind"]),
        "caption": str(told["caption"]),
        "begin": _number(told["begin"]),
        "end": _number(told["end"]),
        "width": int(told["width"]),
        "height": int(told["height"]),
        "taken": _number(told["taken"]),
        "metadata": dict(told["metadata"]),
        "has_content": told["content"] is not None,
    }


def _label(known: str, told: Any) -> ItemLabel:
    return ItemLabel(
        id=known,
        label=None if told["label"] is None else str(told["label"]),
        best=None if told["best"] is None else str(told["best"]),
        probability=float(told["probability"]),
        match=_number(told["match"]),
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
