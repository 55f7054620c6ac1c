"""One TorchServe input → one `Request`: whatever way the items came, they leave here as a flat list.

The forms (docs/errors.md lists what is refused):

    gRPC   input["request"]           EmbedRequest
    gRPC   input["data" or "body"]    one raw text or image
    HTTP   application/x-protobuf     EmbedRequest
    HTTP   application/json           {"inputs": [...], "space": optional}
    HTTP   image/*, text/*, octet-stream or no type    one raw text or image
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from handlers.config import Settings
from handlers.embedding_pb2 import EmbedRequest
from handlers.errors import (
    EMPTY_REQUEST,
    IMAGE_TOO_MANY_BYTES,
    INVALID_ITEM,
    MALFORMED_REQUEST,
    SPACE_MISMATCH,
    TOO_MANY_ITEMS,
    UNSUPPORTED_MEDIA_TYPE,
    WRONG_TOWER,
    ItemFault,
    RequestFault,
)

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
_PROTOBUF_TYPES = (PROTOBUF, "application/protobuf")
_ALLOWED = f"{PROTOBUF}, {JSON}, text/plain in UTF-8, image/* and application/octet-stream"
_UTF8_NAMES = ("", "utf-8", "utf8", "us-ascii", "ascii")
_DATA_URI = re.compile(r"data:image/[\w.+-]*;base64,", re.ASCII | re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE | re.ASCII)

# An item as it came: bytes, text that TorchServe or JSON decoded already, or the reason it cannot be used.
Payload = bytes | str | ItemFault


@dataclass(frozen=True)
class Envelope:
    """How a request came, and therefore how it is answered; known even where its content is refused."""

    grpc: bool
    protobuf: bool
    """Answer with an EmbedResponse, else with JSON."""
    single: bool
    """One raw item: over HTTP its error is the status of the answer."""
    content_type: str
    """Media type of the request, lower case, without parameters; "" over gRPC."""
    charset: str


def read_envelope(headers: Mapping[str, Any], data: Mapping[str, Any]) -> Envelope:
    """Request headers and input of one TorchServe request → its envelope. Never raises on outside bytes."""
    lowered = {str(name).lower(): value for name, value in headers.items()}
    # TorchServe gives every HTTP request an "explain" header and a gRPC request none. A gRPC input may have a
    # key of that name, which is no string here.
    if not isinstance(lowered.get("explain"), str):
        return Envelope(grpc=True, protobuf=True, single="request" not in data, content_type="", charset="")
    content_type, _, parameters = _text_of(lowered.get("content-type")).partition(";")
    content_type = content_type.strip().lower()
    charset = re.search(r"charset\s*=\s*\"?([\w.:-]+)", parameters, re.ASCII)
    accept = _text_of(lowered.get("accept")).lower()
    return Envelope(
        grpc=False,
        protobuf=content_type in _PROTOBUF_TYPES or any(name in accept for name in _PROTOBUF_TYPES),
        single=content_type not in (*_PROTOBUF_TYPES, JSON),
        content_type=content_type,
        charset=charset.group(1).lower() if charset else "",
    )


def read_items(
    envelope: Envelope, data: Mapping[str, Any], *, tower: str, space: str, settings: Settings
) -> list[Payload]:
    """The items of one request, in its order (a protobuf's texts before its images).

    Raises:
        RequestFault: the request as a whole is refused.
    """
    items, expected = _content(envelope, data, tower=tower, settings=settings)
    if expected and expected != space:
        raise RequestFault(
            SPACE_MISMATCH, f"this tower serves the space {space}, the request wants {expected[:64]!r}"
        )
    if not items:
        raise RequestFault(EMPTY_REQUEST, "the request holds no items; send at least one text or image")
    if len(items) > settings.max_items:
        raise RequestFault(
            TOO_MANY_ITEMS,
            f"the request holds {len(items):,} items; at most {settings.max_items:,} are allowed",
        )
    return items


def _content(
    envelope: Envelope, data: Mapping[str, Any], *, tower: str, settings: Settings
) -> tuple[list[Payload], str]:
    if envelope.grpc and not envelope.single:
        return _protobuf(data["request"], tower)
    body = data["body"] if "body" in data else data.get("data")
    if envelope.grpc and body is None:
        raise RequestFault(
            MALFORMED_REQUEST,
            'the input has neither the key "request" (an EmbedRequest) nor "data" (one raw item)',
        )
    if envelope.content_type in _PROTOBUF_TYPES:
        return _protobuf(body, tower)
    if envelope.content_type == JSON:
        return _json(body, tower, settings)
    return _raw(envelope, body, tower), ""


def _protobuf(body: Any, tower: str) -> tuple[list[Payload], str]:
    if not isinstance(body, bytes | bytearray):
        raise RequestFault(MALFORMED_REQUEST, "the body is not a serialized EmbedRequest")
    try:
        request = EmbedRequest.FromString(bytes(body))
    except DecodeError as error:
        raise RequestFault(MALFORMED_REQUEST, "the body is not a serialized EmbedRequest") from error
    wrong = ItemFault(WRONG_TOWER, _wrong_tower(tower))
    texts: list[Payload] = list(request.texts)
    images: list[Payload] = list(request.images)
    if tower == "text":
        images = [wrong] * len(images)
    else:
        texts = [wrong] * len(texts)
    return texts + images, request.space


def _json(body: Any, tower: str, settings: Settings) -> tuple[list[Payload], str]:
    # TorchServe has parsed the body unless it is no JSON, in which case the bytes arrive.
    if isinstance(body, bytes | bytearray):
        try:
            body = json.loads(bytes(body))
        except (ValueError, RecursionError) as error:
            raise RequestFault(MALFORMED_REQUEST, "the body is no JSON in UTF-8") from error
    if not isinstance(body, dict) or "inputs" not in body:
        raise RequestFault(MALFORMED_REQUEST, 'the JSON body must be an object with a list "inputs"')
    inputs, space = body["inputs"], body.get("space")
    if isinstance(inputs, str):
        inputs = [inputs]
    if not isinstance(inputs, list):
        raise RequestFault(MALFORMED_REQUEST, '"inputs" must be a list of strings')
    if space is not None and not isinstance(space, str):
        raise RequestFault(MALFORMED_REQUEST, '"space" must be a string')
    if len(inputs) > settings.max_items:
        return inputs, ""  # Refused by the caller of this function; not worth decoding.
    read = _json_text if tower == "text" else _json_image
    return [read(item, settings) for item in inputs], space or ""


def _json_text(item: Any, settings: Settings) -> Payload:
    if not isinstance(item, str):
        return ItemFault(INVALID_ITEM, "a text must be a JSON string")
    if _DATA_URI.match(item):
        return ItemFault(WRONG_TOWER, _wrong_tower("text"))
    return item


def _json_image(item: Any, settings: Settings) -> Payload:
    if not isinstance(item, str):
        return ItemFault(INVALID_ITEM, "an image must be a JSON string: base64, or a data:image URI of it")
    prefix = _DATA_URI.match(item)
    if prefix is None and _URL.match(item):
        return ItemFault(
            INVALID_ITEM,
            "an address is not an image, fetching is not allowed; send base64 or data:image/...;base64,",
        )
    encoded = item[prefix.end() :] if prefix else item
    if len(encoded) // 4 * 3 - 2 > settings.max_image_bytes:
        return ItemFault(
            IMAGE_TOO_MANY_BYTES,
            f"the image has about {len(encoded) // 4 * 3:,} bytes; "
            f"at most {settings.max_image_bytes:,} are allowed",
        )
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:  # binascii.Error is one; so is the error of a string that is not ASCII.
        return ItemFault(INVALID_ITEM, "the image is not valid base64 (standard alphabet, padded, one line)")


def _raw(envelope: Envelope, body: Any, tower: str) -> list[Payload]:
    kind = envelope.content_type
    if kind.startswith("text/"):
        if envelope.charset not in _UTF8_NAMES:
            raise RequestFault(
                UNSUPPORTED_MEDIA_TYPE, f"the charset {envelope.charset!r} is not supported; send UTF-8"
            )
        if tower != "text":
            return [ItemFault(WRONG_TOWER, _wrong_tower(tower))]
    elif kind.startswith("image/"):
        if tower != "vision":
            return [ItemFault(WRONG_TOWER, _wrong_tower(tower))]
    elif kind not in ("", "application/octet-stream"):
        raise RequestFault(
            UNSUPPORTED_MEDIA_TYPE, f"the content type {kind[:64]!r} is not supported; send {_ALLOWED}"
        )
    if body is None or (not body and kind == "" and not envelope.grpc):
        raise RequestFault(EMPTY_REQUEST, f"the request has no body; POST {_ALLOWED}")
    if isinstance(body, str):
        return [body]
    if not isinstance(body, bytes | bytearray):
        raise RequestFault(MALFORMED_REQUEST, f"the body could not be read; send {_ALLOWED}")
    return [bytes(body)]


def _wrong_tower(tower: str) -> str:
    if tower == "text":
        return "an image was sent to the text tower; send it to the vision tower"
    return "a text was sent to the vision tower; send it to the text tower"


def _text_of(header: Any) -> str:
    return header if isinstance(header, str) else ""
