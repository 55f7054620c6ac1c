"""One item of a request as it came: bytes, a text that was decoded already, or why it cannot be used."""

from __future__ import annotations

import binascii
import re
from typing import Any

from handlers.config import Settings
from handlers.errors import IMAGE_TOO_MANY_BYTES, INVALID_ITEM, WRONG_TOWER, ItemFault

Payload = bytes | str | ItemFault

_DATA_URI = re.compile(r"data:image/[\w.+-]*;base64,", re.ASCII | re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE | re.ASCII)


def json_item(item: Any, tower: str, settings: Settings) -> Payload:
    """A JSON value → a text, or the bytes of an image in base64, with or without `data:image/...;base64,`."""
    return _text(item) if tower == "text" else _image(item, settings)


def wrong_tower(tower: str) -> ItemFault:
    """What an item is told that `tower` does not embed."""
    if tower == "text":
        return ItemFault(WRONG_TOWER, "an image was sent to the text tower; send it to the vision tower")
    return ItemFault(WRONG_TOWER, "a text was sent to the vision tower; send it to the text tower")


def from_base64(encoded: str, settings: Settings) -> Payload:
    """base64 → the image's bytes, unless they are too many or it is none."""
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


def image_in_text(text: str, settings: Settings) -> Payload:
    """A text body at the vision tower: an image in base64, which TorchServe's own handlers take there."""
    stripped = text.strip()
    prefix = _DATA_URI.match(stripped)
    decoded = from_base64(stripped[prefix.end() :] if prefix else stripped, settings)
    if isinstance(decoded, ItemFault) and decoded.code == INVALID_ITEM and prefix is None:
        return wrong_tower("vision")
    return decoded


def _text(item: Any) -> Payload:
    if not isinstance(item, str):
        return ItemFault(INVALID_ITEM, "a text must be a JSON string")
    if _DATA_URI.match(item):
        return wrong_tower("text")
    return item


def _image(item: Any, settings: Settings) -> Payload:
    if not isinstance(item, str):
        return ItemFault(INVALID_ITEM, "an image must be a JSON string: base64, or a data:image URI of it")
    prefix = _DATA_URI.match(item)
    if prefix is None and _URL.match(item):
        return ItemFault(
            INVALID_ITEM,
            "an address is not an image, fetching is not allowed; send base64 or data:image/...;base64,",
        )
    return from_base64(item[prefix.end() :] if prefix else item, settings)
