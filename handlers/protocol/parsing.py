"""The content of one TorchServe request → its items: whatever way they came, they leave here as a flat list.

The forms (docs/errors.md lists what is refused):

    gRPC   input["request"]           EmbedRequest
    gRPC   input["data" or "body"]    one raw text or image
    HTTP   application/x-protobuf     EmbedRequest
    HTTP   application/json           {"inputs": [...], "space": optional}; other dialects:
    handlers.protocol.envelope HTTP   multipart/form-data        an item a field, in their order; TorchServe
    keeps one of each name HTTP   image/*, text/*, octet-stream or no type    one raw text or image; an image
    also in base64
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from handlers.canary import Canary
from handlers.config import Settings, TowerMeta
from handlers.embedding_pb2 import EmbedRequest
from handlers.errors import (
    EMPTY_REQUEST,
    INVALID_ITEM,
    MALFORMED_REQUEST,
    SPACE_MISMATCH,
    TOO_MANY_ITEMS,
    UNKNOWN_PATH,
    UNSUPPORTED_MEDIA_TYPE,
    ItemFault,
    RequestFault,
)
from handlers.protocol.dialects import kserve, openai
from handlers.protocol.envelope import (
    FORM_TYPES,
    JSON,
    MULTIPART,
    OPENAI_PATH,
    PROTOBUF,
    PROTOBUF_TYPES,
    URLENCODED,
    Envelope,
    parse_json,
)
from handlers.protocol.foreign import ACCEPTED, of_objects, refusal
from handlers.protocol.items import Payload, image_in_bytes, image_in_text, json_item, wrong_tower

_ALLOWED = f"{PROTOBUF}, {JSON}, {MULTIPART}, text/plain in UTF-8, image/* and application/octet-stream"
_UTF8_NAMES = ("", "utf-8", "utf8", "us-ascii", "ascii")


@dataclass(frozen=True)
class Content:
    """What one request holds."""

    items: list[Payload] | Canary
    """In its order, a protobuf's texts before its images; the canary for a probe."""
    space: str = ""
    """The embedding space it insists on; "" for any."""
    timeout: float | None = None
    """Seconds that its caller waits for the answer; None where it does not say."""


def read_items(
    envelope: Envelope, data: Mapping[str, Any], *, meta: TowerMeta, settings: Settings
) -> Content:
    """What one request holds, checked.

    Raises:
        RequestFault: the request as a whole is refused.
    """
    if envelope.dialect == "health":
        return Content(meta.canary)
    if envelope.path not in ("", OPENAI_PATH):
        raise RequestFault(
            UNKNOWN_PATH,
            f"there is nothing at {envelope.path[:64]!r}; after a version comes {OPENAI_PATH}",
        )
    if envelope.explain:
        raise RequestFault(UNKNOWN_PATH, f"there are no explanations of an embedding here; {ACCEPTED}")
    if envelope.coding:
        raise RequestFault(
            UNSUPPORTED_MEDIA_TYPE,
            f"the content encoding {envelope.coding[:64]!r} is not supported; send the body uncompressed",
        )
    content = _content(envelope, data, meta, settings)
    items, expected = content.items, content.space
    if expected and expected != meta.space:
        raise RequestFault(
            SPACE_MISMATCH, f"this tower serves the space {meta.space}, the request wants {expected[:64]!r}"
        )
    if isinstance(items, Canary):
        return content
    if not items:
        raise RequestFault(EMPTY_REQUEST, "the request holds no items; send at least one text or image")
    if len(items) > settings.max_items:
        raise RequestFault(
            TOO_MANY_ITEMS,
            f"the request holds {len(items):,} items; at most {settings.max_items:,} are allowed",
        )
    return content


def _content(envelope: Envelope, data: Mapping[str, Any], meta: TowerMeta, settings: Settings) -> Content:
    if envelope.grpc and not envelope.single:
        return _protobuf(data["request"], meta)
    body = data["body"] if "body" in data else data.get("data")
    if envelope.grpc and body is None:
        raise RequestFault(
            MALFORMED_REQUEST,
            'the input has neither the key "request" (an EmbedRequest) nor "data" (one raw item)',
        )
    if envelope.dialect == "openai":
        return Content(*openai.read(_parsed(envelope, body), meta, settings))
    if envelope.dialect == "kserve":
        return Content(kserve.read(_parsed(envelope, body), meta, settings))
    if envelope.content_type in PROTOBUF_TYPES:
        return _protobuf(body, meta)
    if envelope.content_type == JSON:
        return Content(*_json(_parsed(envelope, body), meta.tower, settings))
    if envelope.content_type in FORM_TYPES:
        return Content(_form(envelope, data, meta.tower, settings))
    return Content([_raw(envelope, body, meta.tower, settings)])


def _protobuf(body: Any, meta: TowerMeta) -> Content:
    if not isinstance(body, bytes | bytearray):
        raise RequestFault(MALFORMED_REQUEST, "the body is not a serialized EmbedRequest")
    try:
        request = EmbedRequest.FromString(bytes(body))
    except DecodeError as error:
        raise RequestFault(MALFORMED_REQUEST, "the body is not a serialized EmbedRequest") from error
    texts: list[Payload] = list(request.texts)
    images: list[Payload] = list(request.images)
    if request.canary:
        if texts or images:
            raise RequestFault(MALFORMED_REQUEST, "a request for the canary holds no items")
        return Content(meta.canary, request.space)
    if meta.tower == "text":
        images = [wrong_tower("text")] * len(images)
    else:
        texts = [wrong_tower("vision")] * len(texts)
    return Content(texts + images, request.space, request.timeout_ms / 1000 or None)


def _parsed(envelope: Envelope, body: Any) -> Any:
    """The JSON value of a body."""
    if envelope.content_type != JSON:
        raise RequestFault(UNSUPPORTED_MEDIA_TYPE, f"this address takes {JSON}")
    value = parse_json(body)
    if isinstance(value, bytes | bytearray):
        raise RequestFault(MALFORMED_REQUEST, "the body is no JSON in UTF-8")
    return value


def _json(body: Any, tower: str, settings: Settings) -> tuple[list[Payload], str]:
    if not isinstance(body, dict) or "inputs" not in body:
        raise RequestFault(MALFORMED_REQUEST, refusal(body))
    inputs, space = body["inputs"], body.get("space")
    if isinstance(inputs, str):
        inputs = [inputs]
    if not isinstance(inputs, list):
        raise RequestFault(MALFORMED_REQUEST, '"inputs" must be a list of strings')
    if of_objects(inputs):
        raise RequestFault(MALFORMED_REQUEST, f'"inputs" holds objects instead of strings; {ACCEPTED}')
    if space is not None and not isinstance(space, str):
        raise RequestFault(MALFORMED_REQUEST, '"space" must be a string')
    if len(inputs) > settings.max_items:
        return inputs, ""  # Refused by the caller of this function; not worth decoding.
    return [json_item(item, tower, settings) for item in inputs], space or ""


def _form(envelope: Envelope, data: Mapping[str, Any], tower: str, settings: Settings) -> list[Payload]:
    if envelope.content_type == URLENCODED:
        # What curl -d sends unless told otherwise. TorchServe splits it at & and =, so only a named field
        # arrives as it was meant.
        if "data" not in data:
            raise RequestFault(
                UNSUPPORTED_MEDIA_TYPE,
                f"a form must have the field data; a body that is no form needs its content type: {_ALLOWED}",
            )
        return [_value(data["data"], tower, settings)]
    return [_value(value, tower, settings) for value in data.values()]


def _value(value: Any, tower: str, settings: Settings) -> Payload:
    """One field of a form; a part that says it is JSON arrives parsed."""
    if isinstance(value, str) and tower == "vision":
        return image_in_text(value, settings)
    if isinstance(value, bytes | bytearray):
        return image_in_bytes(bytes(value), settings) if tower == "vision" else bytes(value)
    return value if isinstance(value, str) else ItemFault(INVALID_ITEM, "a field must be one text or image")


def _raw(envelope: Envelope, body: Any, tower: str, settings: Settings) -> Payload:
    kind = envelope.content_type
    if kind.startswith("text/"):
        if envelope.charset not in _UTF8_NAMES:
            raise RequestFault(
                UNSUPPORTED_MEDIA_TYPE, f"the charset {envelope.charset!r} is not supported; send UTF-8"
            )
        if tower != "text" and not isinstance(body, str):
            return wrong_tower(tower)
    elif kind.startswith("image/"):
        if tower != "vision":
            return wrong_tower(tower)
    elif kind not in ("", "application/octet-stream"):
        raise RequestFault(
            UNSUPPORTED_MEDIA_TYPE, f"the content type {kind[:64]!r} is not supported; send {_ALLOWED}"
        )
    if body is None or (not body and kind == "" and not envelope.grpc):
        raise RequestFault(EMPTY_REQUEST, f"the request has no body; POST {_ALLOWED}")
    if not isinstance(body, str | bytes | bytearray):
        raise RequestFault(MALFORMED_REQUEST, f"the body could not be read; send {_ALLOWED}")
    if isinstance(body, str):
        return image_in_text(body, settings) if tower == "vision" else body
    return image_in_bytes(bytes(body), settings) if tower == "vision" else bytes(body)
