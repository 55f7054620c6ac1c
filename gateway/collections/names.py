"""What collections, items and their texts may be: checked before anything is made of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from babelclip.index.filters import MAX_INTEGER, check_value
from gateway.errors import COLLECTION_NOT_FOUND, ApiError, malformed

MAX_SOURCE = 4_096
MAX_CAPTION = 10_000
MAX_METADATA = 65_536  # bytes of it as JSON
MAX_FIELDS = 64
MAX_DEPTH = 16
"""How deep metadata may be nested: as much as every way of giving it back can write."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@=+-]{0,127}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SHOWN = 80  # characters of what a caller sent that a message repeats


def is_name(name: str) -> bool:
    """Whether a collection may be called so."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """The name that a new collection may have.

    Raises:
        ApiError: it may not.
    """
    if not is_name(name):
        message = '"name" must be up to 64 letters, digits, _ and -, beginning with a letter or digit'
        raise malformed(message, "name")
    return name


def not_found(name: str) -> ApiError:
    """There is no collection of this name."""
    return ApiError(
        404, COLLECTION_NOT_FOUND, f"there is no collection {name[:_SHOWN]!r}", param="collection"
    )


def check_id(value: str) -> None:
    """Raises ValueError for what cannot be an item's id."""
    if not _ID.fullmatch(value):
        raise ValueError(
            "an id must be up to 128 letters, digits and . _ : @ = + -, beginning with a letter or digit"
        )


def check_text(value: str, name: str, most: int) -> None:
    """Raises ValueError for a text that is too long, or holds what no text holds."""
    if len(value) > most:
        raise ValueError(f"{name} has {len(value):,} characters; at most {most:,} are allowed")
    if _CONTROL.search(value) or not is_unicode(value):
        raise ValueError(f"{name} holds a control character, or half of one beyond Unicode's first 65,536")


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: JSON can name halves of characters, which cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_readable_id(value: str) -> bool:
    """Whether an index can be asked for an item of this id; no item has another."""
    return "\0" not in value and is_unicode(value)


def check_metadata(metadata: Mapping[str, Any], fields: Mapping[str, str]) -> None:
    """Raises ValueError for metadata that is too large, or not of the types of the collection's fields.

    What is kept is given back with every hit: what one way in can read and another cannot write would make
    each search fail that finds it.
    """
    _check_values(metadata)
    written = json.dumps(metadata, ensure_ascii=False)
    if not is_unicode(written):
        raise ValueError("metadata holds half of a character beyond Unicode's first 65,536")
    if len(written.encode()) > MAX_METADATA:
        raise ValueError(f"metadata has too many bytes; at most {MAX_METADATA:,} are allowed")
    for name, kind in fields.items():
        value = metadata.get(name)
        if value is not None and not check_value(value, kind):
            raise ValueError(f"the metadata {name} must be of the type {kind}, as the collection's field is")


def _check_values(metadata: Mapping[str, Any]) -> None:
    """Raises ValueError for what is nested too deeply, and for numbers that JSON cannot hold everywhere."""
    level: list[Any] = [metadata]
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _inside(value)]
        for value in level:
            if isinstance(value, int) and abs(value) > MAX_INTEGER:
                raise ValueError("metadata holds an integer that has no place in 64 bits")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError("metadata holds a number that is not finite")
        if not level:
            return
    if any(isinstance(value, Mapping | list) for value in level):
        raise ValueError(f"metadata is nested more than {MAX_DEPTH} deep")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()
