"""What is asked of a collection → the bodies of the calls."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from babelclip.client.items import ImageInput, image_item
from babelclip.collections.messages import AddOutcome, NewItem
from babelclip.index.filters import Filter
from babelclip.item_errors import ItemError
from babelclip.search.answering import Threshold, check_terms, check_threshold
from babelclip.search.query import InvalidQuery, Term

MOST_IMAGE_BYTES = 32_000_000
"""Of an image that is sent; in base64 it is a third larger, and a gateway takes 64 MiB in one body."""
PIECE = 64
"""Items that are sent together, unless they have more bytes than PIECE_BYTES."""
PIECE_BYTES = 8_000_000


@dataclass
class Piece:
    """Items that are sent together, by their places in the call, and those that nothing is sent of."""

    sent: dict[int, dict[str, Any]] = field(default_factory=dict)
    failed: dict[int, AddOutcome] = field(default_factory=dict)
    size: int = 0


def pieces(items: Iterator[NewItem]) -> Iterator[Piece]:
    """Items in their order; each image is read only when its piece is made."""
    piece = Piece()
    for place, item in enumerate(items):
        if not isinstance(item, NewItem):
            raise TypeError(f"an item must be a NewItem, not {type(item).__name__}")
        image = _image(place, item.image)
        if isinstance(image, ItemError):
            piece.failed[place] = AddOutcome(item.id, image.code, image.message)
            continue
        size = len(image) if isinstance(image, str) else 0
        if piece.sent and (len(piece.sent) == PIECE or piece.size + size > PIECE_BYTES):
            yield piece
            piece = Piece()
        piece.size += size
        told = {"id": item.id, "source": item.source, "caption": item.caption, "metadata": item.metadata}
        given = {name: value for name, value in told.items() if value}
        piece.sent[place] = {"image": image, **given}
    if piece.sent or piece.failed:
        yield piece


def query(asked: str | Sequence[Term], language: str = "") -> dict[str, Any]:
    """A text as people type it, or terms, whose images are read.

    Raises:
        InvalidQuery: there is no term, or too many, or an image cannot be read.
    """
    told = {"language": language} if language else {}
    if isinstance(asked, str):
        if not asked.strip():
            raise InvalidQuery("the query is empty: name what to search for")
        return {"query": asked, **told}
    check_terms(asked)
    return {"terms": [_term(term) for term in asked], **told}


def search(
    top: int, offset: int, where: Filter | None, diverse: bool, threshold: Threshold
) -> dict[str, Any]:
    """What a search has beside its query; hits that do not reach a threshold are left out by the gateway.

    Raises:
        InvalidQuery: the threshold is none.
    """
    check_threshold(threshold)
    body = {"top": top, "offset": offset, "diverse": diverse, "threshold": threshold}
    return body | {"cut": threshold is not None} | ({} if where is None else {"filter": where})


def selection(ids: Sequence[str] | None, where: Filter | None) -> dict[str, Any]:
    """Items by their ids, or all that a filter keeps.

    Raises:
        ValueError: neither is given, or both.
    """
    if (ids is None) == (where is None):
        raise ValueError("give the ids of items, or a filter: exactly one of them")
    return {"ids": list(ids)} if ids is not None else {"filter": where}


def listing(after: str, limit: int, where: Filter | None, failed: bool | None) -> str:
    """Which items are listed, as the query of an address."""
    asked: dict[str, Any] = {"after": after, "limit": limit}
    if where is not None:
        asked["filter"] = json.dumps(where)
    if failed is not None:
        asked["failed"] = "true" if failed else "false"
    return urlencode(asked)


def labels(labels: Sequence[str], language: str | None, templates: Sequence[str] | None) -> dict[str, Any]:
    """Labels, and the sentences that they are put into."""
    if isinstance(labels, str):
        raise TypeError("pass a list of labels, not one label")
    body: dict[str, Any] = {"labels": list(labels)}
    if language is not None:
        body["language"] = language
    if templates is not None:
        body["templates"] = list(templates)
    return body


def image(image: ImageInput, names: Sequence[str], language: str | None) -> dict[str, Any]:
    """An image that is no item, and labels.

    Raises:
        InvalidQuery: the image cannot be read.
    """
    return {"input": [_query_image(image)], "modality": "image", "top": 1, **labels(names, language, None)}


def _term(term: Term) -> dict[str, Any]:
    if term.text is not None:
        return {"text": term.text, "weight": term.weight}
    if term.like is not None:
        return {"id": term.like, "weight": term.weight}
    assert term.image is not None
    return {"image": _query_image(term.image), "weight": term.weight}


def _query_image(image: ImageInput) -> str | dict[str, str]:
    found = _image(0, image)
    if isinstance(found, ItemError):
        raise InvalidQuery(f"an image of the query cannot be sent: {found.message}")
    return found


def _image(place: int, image: ImageInput | Mapping[str, str]) -> str | dict[str, str] | ItemError:
    """An image in base64, or the address of one as it is."""
    if isinstance(image, Mapping):
        return dict(image)
    data = image_item(place, image, MOST_IMAGE_BYTES)
    return data if isinstance(data, ItemError) else base64.b64encode(data).decode("ascii")
