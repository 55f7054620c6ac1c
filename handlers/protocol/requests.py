"""One TorchServe request → its items in a flat list, whatever way they came, or why it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handlers.config import Settings, TowerMeta
from handlers.errors import (
    EMPTY_REQUEST,
    INTERNAL,
    SPACE_MISMATCH,
    TOO_MANY_ITEMS,
    UNKNOWN_PATH,
    UNSUPPORTED_MEDIA_TYPE,
    RequestError,
)
from handlers.incidents import log_incident
from handlers.protocol.dialects import DIALECTS, dialect_of
from handlers.protocol.dialects.base import Content, Dialect
from handlers.protocol.envelope import Envelope, read_envelope
from handlers.protocol.foreign import ACCEPTED
from handlers.protocol.items import Payload
from handlers.self_test import SelfTest


@dataclass
class Request:
    """One request on its way: either `items` stands for it in the flat list, or `error` refuses it."""

    envelope: Envelope
    dialect: Dialect
    items: slice
    error: RequestError | None = None
    self_test: bool = False
    """A probe: its one item is the tower's own, and is not counted."""
    timeout: float | None = None
    """Seconds that its caller waits for the response; None where it does not say."""
    wants_stages: bool = False
    """Whether the response is to tell how long each stage took."""


def read_request(
    headers: Mapping[str, Any],
    inputs: Mapping[str, Any],
    payloads: list[Payload],
    *,
    meta: TowerMeta,
    settings: Settings,
) -> Request:
    """Headers and inputs of one request → the request; its items are appended to `payloads`. Never raises."""
    envelope = read_envelope(headers, inputs)
    dialect = dialect_of(envelope)
    request = Request(envelope, dialect, items=slice(len(payloads), len(payloads)))
    try:
        content = _read(envelope, dialect, meta, settings)
        request.self_test = isinstance(content.items, SelfTest)
        payloads += [content.items.item] if isinstance(content.items, SelfTest) else content.items
        request.items = slice(request.items.start, len(payloads))
        request.timeout = content.timeout
        request.wants_stages = content.wants_stages
    except RequestError as error:
        request.error = error.kept()
    except Exception as error:
        request.error = RequestError(INTERNAL, log_incident("parsing", error))
    return request


def _read(envelope: Envelope, dialect: Dialect, meta: TowerMeta, settings: Settings) -> Content:
    if not dialect.any_request:
        _check_envelope(envelope, dialect)
    content = dialect.read(envelope, meta, settings)
    _check_content(content, meta, settings)
    return content


def _check_envelope(envelope: Envelope, dialect: Dialect) -> None:
    if envelope.path != dialect.path:
        paths = " or ".join(other.path for other in DIALECTS if other.path)
        raise RequestError(
            UNKNOWN_PATH, f"there is nothing at {envelope.path[:64]!r}; after a version comes {paths}"
        )
    if envelope.explain:
        raise RequestError(UNKNOWN_PATH, f"there are no explanations of an embedding here; {ACCEPTED}")
    if envelope.coding:
        raise RequestError(
            UNSUPPORTED_MEDIA_TYPE,
            f"the content encoding {envelope.coding[:64]!r} is not supported; send the body uncompressed",
        )


def _check_content(content: Content, meta: TowerMeta, settings: Settings) -> None:
    items, expected = content.items, content.space
    if expected and expected != meta.space:
        raise RequestError(
            SPACE_MISMATCH, f"this tower serves the space {meta.space}, the request wants {expected[:64]!r}"
        )
    if isinstance(items, SelfTest):
        return
    if not items:
        raise RequestError(EMPTY_REQUEST, "the request holds no items; send at least one text or image")
    if len(items) > settings.max_items:
        raise RequestError(
            TOO_MANY_ITEMS,
            f"the request holds {len(items):,} items; at most {settings.max_items:,} are allowed",
        )
