"""What the calls on collections answer, as JSON has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import orjson

from babelclip.index import Row
from babelclip.search.query import SearchHit
from gateway.collections.contents import Contents
from gateway.collections.job_files import Job
from gateway.collections.messages import CollectionState, Labelled, Outcome, SearchResult

PREFIX = "/v1/collections"


def address_of(collection: str, item: str) -> str:
    """The path of an item."""
    return f"{PREFIX}/{quote(collection, safe='')}/items/{quote(item, safe='')}"


def collection(found: CollectionState) -> dict[str, Any]:
    """A collection as it is listed."""
    info = found.info
    known = (
        {}
        if info is None
        else {
            "space": info.settings.space,
            "version": info.settings.version,
            "dim": info.settings.dim,
            "items": info.rows,
            "failed": info.failed,
            "fields": dict(info.settings.fields),
            "method": info.method,
            "recall_at_10": info.recall_at_10,
        }
    )
    return {
        "name": found.record.name,
        "model": found.record.model,
        "created": found.record.created,
        **known,
        "state": found.state,
    }


def outcome(found: Outcome) -> dict[str, Any]:
    """What became of an item."""
    told: dict[str, Any] = {"id": found.id or None, "status": found.status}
    return {**told, "code": found.code, "message": found.message} if found.code else told


def item(name: str, row: Row, contents: Contents) -> dict[str, Any]:
    """An item by itself; one that failed has an error."""
    told = _row(name, row, contents)
    if row.error_code:
        told["error"] = {"code": row.error_code, "message": row.error_message}
    return told


def items(name: str, rows: Sequence[Row], following: str | None, contents: Contents) -> bytes:
    """A page of a collection's items."""
    return _dumped({"items": [item(name, row, contents) for row in rows], "next_after": following})


def search(found: SearchResult, contents: Contents) -> bytes:
    """The answer to a search."""
    results = found.results
    answer = {
        "collection": found.collection,
        "space": found.settings.space,
        "version": found.settings.version,
        "threshold": results.threshold,
        "fits": results.fits,
        "hits": [_hit(found.collection, hit, contents) for hit in results.hits],
        "next_offset": results.next_offset,
    }
    return _dumped(answer)


def labelled(found: Labelled) -> bytes:
    """The answer to a classification."""
    answer = {
        "collection": found.collection,
        "space": found.settings.space,
        "version": found.settings.version,
        "items": [
            {
                "id": known,
                "label": answer.label,
                "best": answer.best,
                "probability": answer.probability,
                "match": answer.match,
            }
            for known, answer in found.answers
        ],
    }
    return _dumped(answer)


def job(found: Job) -> dict[str, Any]:
    """A job, as it is now."""
    told = asdict(found)
    code, message = told.pop("code"), told.pop("message")
    return {**told, "error": {"code": code, "message": message} if code else None}


def _dumped(answer: dict[str, Any]) -> bytes:
    """JSON. Metadata that came into an index by another way may hold more than orjson writes."""
    try:
        return orjson.dumps(answer)
    except TypeError:  # of which its JSONEncodeError is one
        return json.dumps(answer).encode()


def _hit(name: str, hit: SearchHit, contents: Contents) -> dict[str, Any]:
    told = _row(name, hit.row, contents)
    return {
        "id": told.pop("id"),
        "score": hit.cosine,
        "match": hit.probability,
        **told,
        "duplicates": list(hit.duplicates),
    }


def _row(name: str, row: Row, contents: Contents) -> dict[str, Any]:
    address = address_of(name, row.id)
    return {
        "id": row.id,
        "source": row.source,
        "kind": row.kind,
        "begin": row.begin,
        "end": row.end,
        "caption": row.caption,
        "width": row.width,
        "height": row.height,
        "taken": row.taken,
        "metadata": dict(row.metadata),
        # What an image is may change under its id; with its checksum the address is of these bytes alone.
        "thumbnail": f"{address}/thumbnail?v={row.checksum[:16]}",
        "content": f"{address}/content" if contents.may_have(row) else None,
    }
