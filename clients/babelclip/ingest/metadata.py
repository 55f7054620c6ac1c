"""Metadata from outside as an index keeps it: plain JSON, with declared fields of their types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from babelclip.index.filters import check_value

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def clean_text(text: str) -> str:
    """The text with what no Unicode text can hold replaced by `?`."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")


def fit_metadata(raw: Mapping[str, Any], fields: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Metadata, and what is wrong with it; the fields that are wrong are left out.

    Lists have texts only, so a text that says a value of the field's type becomes that value, and an empty
    one is no value.

    Args:
        fields: the declared fields of the index, each by its type.

    Returns:
        The metadata as plain JSON, and a sentence, empty where all fields fit.
    """
    try:
        text = json.dumps(dict(raw), ensure_ascii=False, allow_nan=False, default=str)
        plain: dict[str, Any] = json.loads(clean_text(text))
    except (ValueError, TypeError, RecursionError) as error:
        return {}, f"the metadata is no JSON object: {error}"
    wrong = []
    for name, kind in fields.items():
        if name not in plain:
            continue
        value = _fitted(plain[name], kind)
        if value is None or check_value(value, kind):
            plain[name] = value
        else:
            wrong.append(f"the metadata has for {name} {plain.pop(name)!r}, which is not of the type {kind}")
    return plain, "; ".join(wrong)


def _fitted(value: Any, kind: str) -> Any:
    if kind == "text":
        numbers = isinstance(value, int | float) and not isinstance(value, bool)
        return str(value) if numbers else value
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text:
        return None
    if kind == "boolean":
        return _BOOLEANS.get(text.lower(), value)
    try:
        return int(text) if kind == "integer" else float(text)
    except ValueError:
        return value
