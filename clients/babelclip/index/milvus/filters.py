"""Conditions as Milvus's expressions.

A column of ours is never null, because Milvus has known null only since 2.5: what may be missing has a second
column that says whether it is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from babelclip.index.filters import All, Any_, Compare, Condition, Not
from babelclip.index.rows import NUMBERS

DECLARED = "field_"
"""What the columns of declared fields begin with, so that none can be taken for a column of every row."""

PRESENT = "has_"
"""What the column begins with that says whether another one has a value."""

EMBEDDED = "embedded"
"""The column that says whether a row has a vector."""

WITH_VECTOR = f"{EMBEDDED} == true"
WITHOUT_VECTOR = f"{EMBEDDED} == false"
ALL_ROWS = f"{EMBEDDED} in [true, false]"
NO_ROW = "id in []"

_SIGNS = {"$eq": "==", "$ne": "!=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_WILDCARDS = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})
_LAST = 0x10FFFF  # the last character
_HALVES = range(0xD800, 0xE000)  # which are no characters


def to_expression(condition: Condition, holding: Callable[[Compare], str] | None = None) -> str:
    """A condition → an expression for `filter`.

    Args:
        holding: what is to stand for a `$contains`, where the server cannot compare with the middle of texts.
    """
    if isinstance(condition, All | Any_):
        if not condition.parts:
            return ALL_ROWS
        word = " and " if isinstance(condition, All) else " or "
        return "(" + word.join(to_expression(part, holding) for part in condition.parts) + ")"
    if isinstance(condition, Not):
        return f"not ({to_expression(condition.part, holding)})"
    return _compare(condition, holding)


def literal(value: Any) -> str:
    """A text, number or boolean as Milvus has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    return repr(value)


def listed(values: Any) -> str:
    """Several of them."""
    return "[" + ", ".join(literal(one) for one in values) + "]"


def column_of(condition: Compare) -> str:
    """The name of the column that a comparison is about."""
    return f"{DECLARED}{condition.column}" if condition.declared else condition.column


def presence_of(condition: Compare) -> str:
    """An expression that is true of the rows that have a value there; empty where all have."""
    may_miss = condition.declared or condition.column in NUMBERS
    return f"{PRESENT}{column_of(condition)} == true" if may_miss else ""


def _compare(condition: Compare, holding: Callable[[Compare], str] | None) -> str:
    name, present, value = column_of(condition), presence_of(condition), condition.value
    match condition.operator:
        case "$exists":
            there = present or ALL_ROWS
            return there if value else f"not ({there})"
        case "$ne" | "$nin":
            other = f"{name} != {literal(value)}"
            if condition.operator == "$nin":
                other = f"not ({name} in {listed(value)})"
            return f"(not ({present}) or {other})" if present else other
        case "$in":
            compared = f"{name} in {listed(value)}"
        case "$prefix":
            compared = _begins(name, value)
        case "$contains":
            pattern = "%" + value.translate(_WILDCARDS) + "%"
            compared = holding(condition) if holding else f"{name} like {literal(pattern)}"
        case operator:
            compared = f"{name} {_SIGNS[operator]} {literal(value)}"
    return f"({present} and {compared})" if present else compared


def _begins(name: str, prefix: str) -> str:
    """Texts are in the order of their characters, so those that begin alike stand beside each other."""
    after = prefix.rstrip(chr(_LAST))
    lower = f"{name} >= {literal(prefix)}"
    if not after:
        return lower
    following = ord(after[-1]) + 1
    end = after[:-1] + chr(_HALVES.stop if following in _HALVES else following)
    return f"({lower} and {name} < {literal(end)})"
