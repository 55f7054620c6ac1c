"""One item of a request as JSON has it, in the forms that clients send.

"a text"                                     OpenAI's
"data:image/png;base64,…"                    an image, wherever a text may stand
{"text": "…"}, {"image": "base64 or data URI"}                       Jina's and SGLang's
{"type": "text", "text": "…"}, {"type": "image_url", "image_url": {"url": "data:…"}}      vLLM's parts
"""

from __future__ import annotations

import json
from typing import Any

from babelclip import ItemError
from gateway.embedding import Item
from gateway.errors import INVALID_ITEM
from gateway.http.dialects import images

NO_JOINT_VECTOR = (
    "a text and an image have a vector each and none together, since the model has two towers; send two items"
)


def read(value: Any, *, modality: str = "text") -> Item:
    """A JSON value → a text, an encoded image, or why it is neither.

    Args:
        modality: what a string is that is no data URI, "text" or "image".
    """
    if isinstance(value, str):
        return images.read(value) if modality == "image" or images.is_data_uri(value) else value
    if not isinstance(value, dict):
        return _wrong(f"an item must be a string or an object, not {named(value)}")
    kinds = {key for key in ("text", "image", "image_url") if value.get(key) is not None}
    if len(kinds) == 2 and "text" in kinds:
        return _wrong(NO_JOINT_VECTOR)
    if len(kinds) != 1:
        return _wrong('an object must hold either "text" or "image" (or "image_url")')
    (kind,) = kinds
    return _text(value["text"]) if kind == "text" else _image(value[kind])


def named(value: Any) -> str:
    """What a value is, in JSON's words."""
    if isinstance(value, dict):
        # ASCII: a key may be no Unicode.
        keys = ", ".join(json.dumps(str(key)[:32]) for key in list(value)[:3])
        return f"an object with {keys}" if keys else "an empty object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return "a string"
    return "null" if value is None else "true or false" if isinstance(value, bool) else "a number"


def _text(value: Any) -> Item:
    return value if isinstance(value, str) else _wrong(f'"text" must be a string, not {named(value)}')


def _image(value: Any) -> Item:
    if isinstance(value, dict) and "url" in value:
        value = value["url"]
    if not isinstance(value, str):
        return _wrong(f"an image must be a string, base64 or a data URI of it, not {named(value)}")
    return images.read(value)


def _wrong(message: str) -> ItemError:
    return ItemError(0, INVALID_ITEM, message)
