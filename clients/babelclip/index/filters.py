"""Which rows: a filter as JSON, in the form that users of other vector stores know.

    {"collection": "/photographs", "width": {"$gte": 1024}}           both
    {"$or": [{"album": "sea"}, {"year": {"$in": [2019, 2020]}}]}      either
    {"$not": {"caption": {"$contains": "test"}}}                      not

A filter comes from outside: `parse_filter` takes it apart against the fields that there are, and an engine
writes its own language from what `parse_filter` gives, never from the caller's text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from babelclip.index.errors import InvalidFilter

Filter = Mapping[str, Any]

COLUMNS: Mapping[str, str] = {
    **dict.fromkeys(("id", "source", "collection", "kind", "checksum", "caption", "error_code"), "text"),
    **dict.fromkeys(("size", "width", "height"), "integer"),
    **dict.fromkeys(("taken", "begin", "end"), "number"),
}
"""The columns of every row that can be filtered by, each by its type; declared fields come to them."""

COMPARISONS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$prefix", "$contains")
MAX_CONDITIONS = 1000
MAX_DEPTH = 16
MAX_VALUES = 10_000
MAX_TEXT = 10_000  # characters
MAX_INTEGER = 2**63 - 1


@dataclass(frozen=True)
class Compare:
    """One column against a value, or against several.

    Attributes:
        column: a key of COLUMNS, or a declared field.
        declared: whether it is a declared field.
        operator: one of COMPARISONS.
        value: of the column's type; a tuple of such for `$in` and `$nin`; a boolean for `$exists`.
    """

    column: str
    declared: bool
    operator: str
    value: Any


@dataclass(frozen=True)
class All:
    """Every one of these; none of them is true of all rows."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Any_:
    """At least one of these."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Not:
    """What this does not keep."""

    part: Condition


Condition = Compare | All | Any_ | Not


def parse_filter(raw: Any, fields: Mapping[str, str]) -> Condition:
    """A filter as it came from outside → conditions whose columns exist and whose values fit.

    A row that lacks a field is kept by `$ne`, `$nin` and `{"$exists": false}` of it and by no other
    comparison; `$not` keeps what the condition does not keep.

    Args:
        fields: the declared fields, each by its type.

    Raises:
        InvalidFilter: it is not valid; the message names the place.
    """
    return _Parser(fields).parse(raw, "filter", 0)


class _Parser:
    def __init__(self, fields: Mapping[str, str]) -> None:
        self._types = {**fields, **COLUMNS}
        self._fields = fields
        self._conditions = 0

    def parse(self, raw: Any, place: str, depth: int) -> Condition:
        if depth > MAX_DEPTH:
            raise InvalidFilter(f"the filter is nested more than {MAX_DEPTH} deep")
        if not isinstance(raw, Mapping):
            raise InvalidFilter(f"{place} must be an object, not {_kind(raw)}")
        parts = []
        for key, value in raw.items():
            self._conditions += 1
            if self._conditions > MAX_CONDITIONS:
                raise InvalidFilter(f"the filter has more than {MAX_CONDITIONS} conditions")
            parts.append(self._one(key, value, f"{place}.{_shown(key)}", depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _one(self, key: Any, value: Any, place: str, depth: int) -> Condition:
        if key == "$not":
            return Not(self.parse(value, place, depth + 1))
        if key in ("$and", "$or"):
            if not isinstance(value, list | tuple) or not value:
                raise InvalidFilter(f"{place} must be a list of at least one filter")
            parts = tuple(
                self.parse(part, f"{place}[{index}]", depth + 1) for index, part in enumerate(value)
            )
            return All(parts) if key == "$and" else Any_(parts)
        if key not in self._types:
            known = ", ".join(sorted(self._types))
            raise InvalidFilter(f"{place}: there is no field {_shown(key)!r} to filter by; there are {known}")
        if not isinstance(value, Mapping):
            return self._compare(key, "$eq", value, place)
        if not value:
            raise InvalidFilter(f"{place} has no comparison; there are {', '.join(COMPARISONS)}")
        parts = tuple(self._compare(key, operator, one, place) for operator, one in value.items())
        return parts[0] if len(parts) == 1 else All(parts)

    def _compare(self, column: str, operator: Any, value: Any, place: str) -> Compare:
        if operator not in COMPARISONS:
            raise InvalidFilter(
                f"{place}: there is no comparison {_shown(operator)!r}; there are {', '.join(COMPARISONS)}"
            )
        kind = self._types[column]
        place = f"{place}.{operator}"
        if operator == "$exists":
            if not isinstance(value, bool):
                raise InvalidFilter(f"{place} must be true or false")
        elif operator in ("$in", "$nin"):
            if not isinstance(value, list | tuple) or not value or len(value) > MAX_VALUES:
                raise InvalidFilter(f"{place} must be a list of 1 to {MAX_VALUES} values")
            value = tuple(_checked(one, kind, place) for one in value)
        else:
            if operator in ("$prefix", "$contains") and kind != "text":
                raise InvalidFilter(f"{place}: {column} is of the type {kind}, not text")
            if operator in ("$gt", "$gte", "$lt", "$lte") and kind == "boolean":
                raise InvalidFilter(f"{place}: {column} is true or false, without an order")
            value = _checked(value, kind, place)
        return Compare(column, column in self._fields and column not in COLUMNS, operator, value)


def check_value(value: Any, kind: str) -> bool:
    """Whether a value is of a type in FIELD_TYPES: numbers may be whole, integers fit in 64 bits."""
    if kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind == "text":
        return isinstance(value, str)
    if kind == "integer":
        return isinstance(value, int) and -MAX_INTEGER <= value <= MAX_INTEGER
    return isinstance(value, int | float) and abs(value) <= MAX_INTEGER and math.isfinite(value)


def _checked(value: Any, kind: str, place: str) -> Any:
    if not check_value(value, kind):
        raise InvalidFilter(f"{place} must be of the type {kind}, not {_kind(value)}")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise InvalidFilter(f"{place} has more than {MAX_TEXT} characters")
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value)):
        raise InvalidFilter(f"{place} holds a character that is no Unicode text")
    return float(value) if kind == "number" else value


def _shown(key: Any) -> str:
    """What a message repeats of a key: enough to find it, however long it is."""
    return str(key)[:64]


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)
