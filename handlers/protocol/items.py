"""One item of a request: its bytes, its text where that was decoded already, or why it cannot be used."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from handlers.config import Settings
from handlers.errors import IMAGE_TOO_MANY_BYTES, INVALID_ITEM, UNKNOWN_LANGUAGE, WRONG_TOWER, ItemError
from handlers.preprocess.image_files import begins_as_image
from handlers.preprocess.languages import LanguageTokens
from handlers.preprocess.texts import TextInLanguage
from handlers.protocol.base64_text import DataUri, decode, read_data_uri

RawItem = bytes | str | TextInLanguage
Payload = RawItem | ItemError

_URL = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE | re.ASCII)
# What a browser calls a file whose kind it does not know.
_UNKNOWN_KINDS = ("", "application/octet-stream")


def json_item(item: Any, tower: str, settings: Settings) -> Payload:
    """A JSON value → a text, or the bytes of an image in base64, with or without `data:image/...;base64,`."""
    return _text(item) if tower == "text" else _image(item, settings)


def in_language(items: Sequence[Payload], language: str, told: LanguageTokens | None) -> list[Payload]:
    """The texts of a request, each with the token of their language, or the error that there is none.

    Where no language is named, and where the tower is told none, they are as they came: a caller may name one
    to whatever model it talks to.
    """
    if not language or told is None:
        return list(items)
    token = told.token(language)
    if token is None:
        error = ItemError(UNKNOWN_LANGUAGE, told.refusal(language))
        return [item if isinstance(item, ItemError) else error for item in items]
    return [TextInLanguage(item, token) if isinstance(item, bytes | str) else item for item in items]


def wrong_tower(tower: str) -> ItemError:
    """The error of an item that `tower` does not embed."""
    if tower == "text":
        return ItemError(WRONG_TOWER, "an image was sent to the text tower; send it to the vision tower")
    return ItemError(WRONG_TOWER, "a text was sent to the vision tower; send it to the text tower")


def from_base64(encoded: str, settings: Settings) -> Payload:
    """base64 → the image's bytes, or the error where they are too many or it is not base64."""
    pieces = encoded.split()
    compact = "".join(pieces)
    if len(compact) // 4 * 3 - 2 > settings.max_image_bytes:
        return ItemError(
            IMAGE_TOO_MANY_BYTES,
            f"the image has about {len(compact) // 4 * 3:,} bytes; "
            f"at most {settings.max_image_bytes:,} are allowed",
        )
    data = decode(compact)
    # Without their spaces, some words are base64 too.
    if data is None or (len(pieces) > 1 and not begins_as_image(data)):
        return ItemError(
            INVALID_ITEM,
            "the image is not valid base64; lines, the alphabet of URLs and missing padding are no matter, "
            "other characters are",
        )
    return data


def image_in_text(text: str, settings: Settings) -> Payload:
    """A text body at the vision tower: an image in base64, as TorchServe's own handlers accept it."""
    uri = read_data_uri(text)
    decoded = _image(text, settings) if uri else from_base64(text, settings)
    if isinstance(decoded, ItemError) and decoded.code == INVALID_ITEM and uri is None:
        return wrong_tower("vision")
    return decoded


def image_in_bytes(data: bytes, settings: Settings) -> bytes:
    """A body or a field of bytes at the vision tower: an image file, or one in base64 as shells make it."""
    if begins_as_image(data) or not data.isascii():
        return data
    decoded = image_in_text(data.decode("ascii"), settings)
    return decoded if isinstance(decoded, bytes) and begins_as_image(decoded) else data


def _text(item: Any) -> Payload:
    if not isinstance(item, str):
        return ItemError(INVALID_ITEM, f"a text must be a JSON string, not {_named(item)}")
    uri = read_data_uri(item)
    if uri is not None and uri.base64 and uri.kind.startswith("image/"):
        return wrong_tower("text")
    return item


def _image(item: Any, settings: Settings) -> Payload:
    if not isinstance(item, str):
        return ItemError(
            INVALID_ITEM,
            f"an image must be a JSON string, base64 or a data:image URI of it, not {_named(item)}",
        )
    uri = read_data_uri(item)
    if uri is not None:
        return _in_uri(uri, settings)
    if _URL.match(item.lstrip()):
        return ItemError(
            INVALID_ITEM,
            "an address is not an image, fetching is not allowed; send base64 or data:image/...;base64,",
        )
    return from_base64(item, settings)


def _in_uri(uri: DataUri, settings: Settings) -> Payload:
    if not uri.base64 or not (uri.kind.startswith("image/") or uri.kind in _UNKNOWN_KINDS):
        return ItemError(INVALID_ITEM, "the data URI holds no image in base64; send data:image/...;base64,")
    return from_base64(uri.data, settings)


def _named(item: Any) -> str:
    """The JSON type of an item that should have been a string."""
    if isinstance(item, dict):
        keys = ", ".join(
            json.dumps(str(key)[:32]) for key in list(item)[:3]
        )  # ASCII: a key may be no Unicode
        return f"an object with {keys}: send what it holds" if keys else "an object"
    if isinstance(item, list):
        return "a list: send its strings as items"
    return "null" if item is None else "true or false" if isinstance(item, bool) else "a number"
