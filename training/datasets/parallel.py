"""Parallel text for distillation: the teacher reads the English source, the student the target.

TSV, CSV or JSONL with the columns `source_text` and `target_text`, and optionally `language`, the target's.
Pairs whose target is the English source itself are data like any other and are kept: a student that never
sees them loses its English.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.datasets.examples import Packed
from training.datasets.rows import LeftOut, rows_of, text_in


@dataclass(frozen=True, slots=True)
class Pair:
    source: str  # English
    target: str
    language: str | None = None  # of the target

    @property
    def key(self) -> str:
        """The source, so that a sentence's translations are never parted by a split."""
        return self.source


class Pairs(Packed[Pair]):
    @staticmethod
    def pack(item: Pair) -> list[Any]:
        return [item.source, item.target, item.language]

    @staticmethod
    def unpack(fields: list[Any]) -> Pair:
        return Pair(*fields)


def read(
    path: Path,
    *,
    source_column: str = "source_text",
    target_column: str = "target_text",
    language_column: str | None = None,
    language: str | None = None,
    quoted: bool | None = None,
    strict: bool = True,
) -> Pairs:
    """The pairs of a file, in its order.

    `language` is what all targets are in, unless a `language_column` names it row by row. In .csv cells may
    be quoted; in .tsv every character means itself, as corpora are published, unless `quoted` says otherwise.

    Raises:
        DataError: a column is missing, or strict and a row is malformed.
    """
    left_out = LeftOut(strict=strict)
    columns = (source_column, target_column, *((language_column,) if language_column else ()))
    if quoted is None:
        quoted = path.suffix.lower() == ".csv"

    def pairs() -> Iterator[Pair]:
        for place, row in rows_of(path, left_out, needed=columns, quoted=quoted):
            cells = [text_in(row, column) for column in columns]
            wrong = next((wrong for _, wrong in cells if wrong), None)
            if wrong:
                left_out.fault(place, "malformed row", wrong)
            else:
                spoken = cells[2][0] if language_column else language
                yield Pair(cells[0][0], cells[1][0], spoken)

    return Pairs(pairs(), left_out)
