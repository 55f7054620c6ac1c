"""Groups of duplicates as JSON and as a table of comma separated values."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from babelclip.atomic_files import replacing
from babelclip.dedup.groups import DuplicateGroups, Group, Match
from babelclip.index import Row

COLUMNS = (
    *("group", "role", "kind", "id", "source", "split", "width", "height", "size", "taken"),
    *("mirrored", "agreement", "hash_distance", "cosine"),
)
"""Of the table: `role` is `best` or `duplicate`; how well it matches stands with a duplicate."""


def groups_json(found: DuplicateGroups) -> dict[str, Any]:
    """All groups as a document of JSON's types."""
    document: dict[str, Any] = {
        "space": found.space,
        "rows": found.rows,
        "kinds": list(found.kinds),
        "limits": asdict(found.limits),
        "without_thumbnail": found.without_thumbnail,
        "duplicates": found.duplicates,
        "groups": [_group(group) for group in found.groups],
    }
    if found.splits:
        document["splits"] = list(found.splits)
        document["leaks"] = len(found.leaks)
        document["leaked_rows"] = [
            {"split": one, "in": other, "rows": count} for (one, other), count in found.leaked_rows().items()
        ]
    return document


def write_csv(found: DuplicateGroups, path: Path) -> None:
    """A line for each row of each group, under COLUMNS; UTF-8.

    Raises:
        OSError: it cannot be written.
    """
    with (
        replacing(path) as (partial,),
        partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(_lines(found))


def _lines(found: DuplicateGroups) -> Iterator[dict[str, Any]]:
    for number, group in enumerate(found.groups, start=1):
        best = {"role": "best", "kind": group.kind, "split": group.split}
        yield {"group": number, **_row(group.best), **best}
        for one in group.duplicates:
            yield {
                "group": number,
                "role": "duplicate",
                "split": one.split,
                **_row(one.row),
                **asdict(one.match),
            }


def _group(group: Group) -> dict[str, Any]:
    return {
        "kind": group.kind,
        "splits": list(group.splits),
        "best": {**_row(group.best), "split": group.split},
        "duplicates": [
            {**_row(one.row), "split": one.split, "match": _match(one.match)} for one in group.duplicates
        ],
    }


def _row(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("id", "source", "width", "height", "size", "taken")}


def _match(match: Match) -> dict[str, Any]:
    return {name: value for name, value in asdict(match).items() if value is not None}
