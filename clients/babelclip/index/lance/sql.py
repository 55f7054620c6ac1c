"""Conditions as SQL, in LanceDB's dialect of DataFusion."""

from __future__ import annotations

from typing import Any

from babelclip.index.filters import All, Any_, Compare, Condition, Not

DECLARED = "field_"
"""What the columns of declared fields begin with, so that none can be taken for a column of every row."""

_SIGNS = {"$eq": "=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def to_sql(condition: Condition) -> str:
    """A condition → an expression for `where`; no condition → `true`."""
    if isinstance(condition, All):
        return _joined(" AND ", condition.parts) if condition.parts else "true"
    if isinstance(condition, Any_):
        return _joined(" OR ", condition.parts)
    if isinstance(condition, Not):
        # A comparison with a missing value is neither true nor false, and NOT would leave it so.
        return f"NOT coalesce({to_sql(condition.part)}, false)"
    return _compare(condition)


def literal(value: Any) -> str:
    """A text, number or boolean as SQL has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


def column(name: str, declared: bool) -> str:
    """The name of a column, quoted."""
    plain = f"{DECLARED}{name}" if declared else name
    return "`" + plain.replace("`", "``") + "`"


def _joined(word: str, parts: tuple[Condition, ...]) -> str:
    return "(" + word.join(to_sql(part) for part in parts) + ")"


def _compare(condition: Compare) -> str:
    name = column(condition.column, condition.declared)
    value = condition.value
    match condition.operator:
        case "$exists":
            return f"{name} IS {'NOT ' if value else ''}NULL"
        case "$ne":
            return f"({name} IS NULL OR {name} != {literal(value)})"
        case "$in":
            return f"{name} IN ({', '.join(literal(one) for one in value)})"
        case "$nin":
            return f"({name} IS NULL OR {name} NOT IN ({', '.join(literal(one) for one in value)}))"
        case "$prefix":
            return f"starts_with({name}, {literal(value)})"
        case "$contains":
            return f"contains({name}, {literal(value)})"
        case operator:
            return f"{name} {_SIGNS[operator]} {literal(value)}"
