"""A filter as plain Python evaluates it, to hold the engines to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda value, wanted: value == wanted,
    "$gt": lambda value, wanted: value > wanted,
    "$gte": lambda value, wanted: value >= wanted,
    "$lt": lambda value, wanted: value < wanted,
    "$lte": lambda value, wanted: value <= wanted,
    "$in": lambda value, wanted: value in wanted,
    "$prefix": lambda value, wanted: value.startswith(wanted),
    "$contains": lambda value, wanted: wanted in value,
}


def keeps(where: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether a filter keeps a row of these values; a field that it lacks is None."""
    return all(_one(key, value, row) for key, value in where.items())


def _one(key: str, value: Any, row: Mapping[str, Any]) -> bool:
    if key == "$and":
        return all(keeps(part, row) for part in value)
    if key == "$or":
        return any(keeps(part, row) for part in value)
    if key == "$not":
        return not keeps(value, row)
    comparisons = value if isinstance(value, Mapping) else {"$eq": value}
    return all(_compare(row[key], operator, wanted) for operator, wanted in comparisons.items())


def _compare(value: Any, operator: str, wanted: Any) -> bool:
    if operator == "$exists":
        return bool((value is not None) == wanted)
    if operator == "$ne":
        return value is None or value != wanted
    if operator == "$nin":
        return value is None or value not in wanted
    return value is not None and OPERATORS[operator](value, wanted)
