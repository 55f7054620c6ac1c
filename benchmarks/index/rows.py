"""The rows that the benchmark adds: with a number, by which they are known, and a field to filter by."""

from __future__ import annotations

from typing import Any

from babelclip.index import Row, Settings, row_id

SPACE = "benchmark"
EVERY = 100
"""Of this many rows the filter keeps one."""


def settings(dim: int) -> Settings:
    return Settings(space=SPACE, dim=dim, fields={"kept": "integer"})


def row(number: int, vector: Any) -> Row:
    """The row of a number, with the details that a photograph has."""
    source = f"/photographs/{number // 1000:05d}/{number}.jpg"
    return Row(
        id=row_id(source),
        source=source,
        vector=vector,
        collection="/photographs",
        fingerprint=f"{number:x}",
        size=66_000 + number % 1000,
        width=640,
        height=480,
        caption=f"photograph {number}",
        metadata={"number": number, "kept": number % EVERY},
    )
