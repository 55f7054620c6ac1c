"""A shard: a piece of the input that is embedded as a whole, and what of it can go wrong."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["tar", "parquet", "csv", "lines", "files"]


class ShardError(Exception):
    """A shard cannot be read; the message is a sentence for people."""


@dataclass(frozen=True)
class Shard:
    """A piece of the input, as a line of the manifest has it.

    Attributes:
        number: its place among all; its output is called by it.
        kind: how it is read. `files` are paths, one a line of the listing beside the manifest.
        source: the path or address of the file; of `files`, the folder or address they were found in.
        begin: `parquet`: its first row group. `csv`, `lines`, `files`: the byte at which it begins.
        count: row groups, or rows; 0 of a tar, which is read whole.
        first: the number of its first row in the file.
        rows: how many items it has; -1 of a tar, of which nobody knows before it is read.
        size: bytes of the file when the manifest was written; -1 where unknown.
    """

    number: int
    kind: Kind
    source: str
    begin: int = 0
    count: int = 0
    first: int = 0
    rows: int = -1
    size: int = -1

    def line(self) -> str:
        """A line of JSON, ASCII only: a path may be of bytes that are no text."""
        return json.dumps(dataclasses.asdict(self)) + "\n"

    @staticmethod
    def of_line(line: str) -> Shard:
        """What `line` wrote.

        Raises:
            ValueError: it is none.
        """
        try:
            return Shard(**json.loads(line))
        except TypeError as error:
            raise ValueError(f"{line.strip()[:200]!r} is no shard of a manifest") from error


@dataclass(frozen=True, eq=False)
class Item:
    """An image or a text of a shard.

    Attributes:
        source: what its row is known by.
        data: the encoded image, or the text in UTF-8; empty where there is none.
        caption: the text that came with an image; of a text, the text itself.
        columns: its values of the input's own columns.
        code, message: why it has no data; both empty where it has.
    """

    source: str
    data: bytes
    caption: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    message: str = ""


@dataclass
class Counts:
    """What became of items: how many there were, and of those without a vector how many by code."""

    items: int = 0
    failed: dict[str, int] = field(default_factory=dict)

    def add(self, other: Counts) -> None:
        """Count the others, too."""
        self.items += other.items
        for code, count in other.failed.items():
            self.failed[code] = self.failed.get(code, 0) + count
