"""Bodies of HTTP that hold items as they are: one raw text or image, or a form with one item per field."""

from __future__ import annotations

from typing import Any

from handlers.config import Settings
from handlers.errors import (
    EMPTY_REQUEST,
    INVALID_ITEM,
    MALFORMED_REQUEST,
    UNSUPPORTED_MEDIA_TYPE,
    ItemError,
    RequestError,
)
from handlers.protocol.envelope import JSON, MULTIPART, PROTOBUF, URLENCODED, Envelope
from handlers.protocol.items import Payload, image_in_bytes, image_in_text, wrong_tower

_ALLOWED = f"{PROTOBUF}, {JSON}, {MULTIPART}, text/plain in UTF-8, image/* and application/octet-stream"
_UTF8_NAMES = ("", "utf-8", "utf8", "us-ascii", "ascii")


def read_form(envelope: Envelope, tower: str, settings: Settings) -> list[Payload]:
    """A form → its fields, in their order; TorchServe keeps one of each name.

    Raises:
        RequestError: an URL-encoded form has no field `data`.
    """
    if envelope.content_type == URLENCODED:
        # What curl -d sends unless told otherwise. TorchServe splits it at & and =, so only a named field
        # arrives as it was meant.
        if "data" not in envelope.inputs:
            raise RequestError(
                UNSUPPORTED_MEDIA_TYPE,
                f"a form must have the field data; a body that is no form needs its content type: {_ALLOWED}",
            )
        return [_field(envelope.inputs["data"], tower, settings)]
    return [_field(value, tower, settings) for value in envelope.inputs.values()]


def read_raw(envelope: Envelope, tower: str, settings: Settings) -> Payload:
    """A body that is one text or one image, an image also in base64; of gRPC too.

    Raises:
        RequestError: the content type or the charset is not supported, or there is no body.
    """
    kind, body = envelope.content_type, envelope.body
    if kind.startswith("text/"):
        if envelope.charset not in _UTF8_NAMES:
            raise RequestError(
                UNSUPPORTED_MEDIA_TYPE, f"the charset {envelope.charset!r} is not supported; send UTF-8"
            )
        if tower != "text" and not isinstance(body, str):
            return wrong_tower(tower)
    elif kind.startswith("image/"):
        if tower != "vision":
            return wrong_tower(tower)
    elif kind not in ("", "application/octet-stream"):
        raise RequestError(
            UNSUPPORTED_MEDIA_TYPE, f"the content type {kind[:64]!r} is not supported; send {_ALLOWED}"
        )
    if body is None or (not body and kind == "" and not envelope.grpc):
        raise RequestError(EMPTY_REQUEST, f"the request has no body; POST {_ALLOWED}")
    if not isinstance(body, str | bytes | bytearray):
        raise RequestError(MALFORMED_REQUEST, f"the body could not be read; send {_ALLOWED}")
    if isinstance(body, str):
        return image_in_text(body, settings) if tower == "vision" else body
    return image_in_bytes(bytes(body), settings) if tower == "vision" else bytes(body)


def _field(value: Any, tower: str, settings: Settings) -> Payload:
    """One field of a form; a part that says it is JSON arrives parsed."""
    if isinstance(value, str) and tower == "vision":
        return image_in_text(value, settings)
    if isinstance(value, bytes | bytearray):
        return image_in_bytes(bytes(value), settings) if tower == "vision" else bytes(value)
    return value if isinstance(value, str) else ItemError(INVALID_ITEM, "a field must be one text or image")
