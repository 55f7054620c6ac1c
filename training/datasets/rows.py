"""Rows of text files from outside, each with its place, and the account of those that are left out."""

import codecs
import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SHOWN = 3  # sentences that an account keeps of each reason, beside the count
TABS = (".tsv", ".tab", ".txt")
JSON_LINES = (".jsonl", ".ndjson")


class DataError(Exception):
    """Data is not in the form that it must have; one sentence that names the file, the place and the form."""


class LeftOut:
    """How many rows a reader left out, by reason, with the first sentences of each.

    Strict, it raises DataError at the first malformed row instead.
    """

    def __init__(self, *, strict: bool = True) -> None:
        self.strict = strict
        self.counts: Counter[str] = Counter()
        self.sentences: dict[str, list[str]] = {}

    def fault(self, place: str, reason: str, sentence: str) -> None:
        """A malformed row; `reason` is a few words to count by, `sentence` says what was found and is due.

        Raises:
            DataError: strict.
        """
        if self.strict:
            raise DataError(f"{place}: {sentence}")
        self.counts[reason] += 1
        shown = self.sentences.setdefault(reason, [])
        if len(shown) < SHOWN:
            shown.append(f"{place}: {sentence}")

    def passed_over(self, reason: str) -> None:
        """A sound row that is not wanted, like one whose image was never downloaded."""
        self.counts[reason] += 1

    def __str__(self) -> str:
        if not self.counts:
            return "nothing left out"
        lines = []
        for reason, count in self.counts.most_common():
            lines.append(f"{count:,} left out: {reason}")
            lines += [f"  {sentence}" for sentence in self.sentences.get(reason, [])]
        return "\n".join(lines)


def lines_of(path: Path, left_out: LeftOut) -> Iterator[tuple[int, str]]:
    """(number from 1, line without its end) of a UTF-8 file; only a line feed ends a line.

    Raises:
        DataError: the file cannot be read or is UTF-16, or strict and a line is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise DataError(f"{path} is UTF-16, as spreadsheets save Unicode text: save it as UTF-8")
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    sentence = f"the line is not UTF-8 ({error.reason} at byte {error.start})"
                    left_out.fault(f"{path}:{number}", "not UTF-8", sentence)
                    continue
                yield number, text.removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def cells_of(
    path: Path, left_out: LeftOut, *, separator: str, quoted: bool
) -> Iterator[tuple[str, list[str]]]:
    """(place, cells) of every row that is not empty.

    `quoted` cells may stand in double quotes and then hold separators and line ends, as spreadsheets and
    pandas write them; else every character means itself.
    """
    if not quoted:
        for number, line in lines_of(path, left_out):
            if line:
                yield f"{path}:{number}", line.split(separator)
        return
    first = last = 0

    def lines() -> Iterator[str]:
        nonlocal last
        for number, line in lines_of(path, left_out):
            last = number
            yield f"{line}\n"

    reader = csv.reader(lines(), delimiter=separator, strict=True)
    while True:
        first = last + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            sentence = f"the row from here to line {last} is not well quoted ({error})"
            left_out.fault(f"{path}:{first}", "badly quoted", sentence)
            continue
        if cells:
            yield f"{path}:{first}", cells


def table_rows(
    path: Path, left_out: LeftOut, *, needed: tuple[str, ...], separator: str, quoted: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of a table whose first row names its columns.

    Raises:
        DataError: a needed column is missing or named twice, or strict and a row is malformed.
    """
    rows = cells_of(path, left_out, separator=separator, quoted=quoted)
    _, names = next(rows, ("", []))
    for name in needed:
        if names.count(name) != 1:
            found = f"{', '.join(names)[:200] or 'none'} (parted by {separator!r})"
            raise DataError(f"{path}:1: a column {name!r} must stand once in the first row; it has {found}")
    for place, cells in rows:
        if len(cells) != len(names):
            sentence = f"the row has {len(cells)} cells where {len(names)} are due"
            left_out.fault(place, "wrong number of cells", sentence)
        else:
            yield place, dict(zip(names, cells, strict=True))


def json_lines(path: Path, left_out: LeftOut) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of a file with one JSON object per line; empty lines are allowed."""
    for number, line in lines_of(path, left_out):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            left_out.fault(place, "no JSON", f"the line is no JSON ({error})")
            continue
        if isinstance(row, dict):
            yield place, row
        else:
            left_out.fault(place, "no JSON object", "the line must be a JSON object of names and values")


def json_document(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: the file cannot be read or is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON: {error}") from error


def rows_of(
    path: Path, left_out: LeftOut, *, needed: tuple[str, ...], separator: str | None = None, quoted: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of a .csv, .tsv, .jsonl or .json (an array of objects) file, by its suffix.

    `separator` is the suffix's unless given. Cells of a table are strings; in JSON they are what is written.

    Raises:
        DataError: the suffix is none of these, a needed column is missing, or strict and a row is malformed.
    """
    suffix = path.suffix.lower()
    if suffix in JSON_LINES:
        yield from json_lines(path, left_out)
    elif suffix == ".json":
        found = json_document(path)
        if not isinstance(found, list):
            raise DataError(f"{path} must hold an array of rows")
        for number, row in enumerate(found):
            if isinstance(row, dict):
                yield f"{path}[{number}]", row
            else:
                left_out.fault(f"{path}[{number}]", "no JSON object", "the row must be an object of names")
    elif suffix == ".csv" or suffix in TABS:
        separator = separator or ("," if suffix == ".csv" else "\t")
        yield from table_rows(path, left_out, needed=needed, separator=separator, quoted=quoted)
    else:
        raise DataError(f"{path}: the name must end in .csv, .tsv, .jsonl or .json")


def text_in(row: Mapping[str, Any], name: str) -> tuple[str, str | None]:
    """(the text of a cell without white space around it, None), or ("", what is wrong with it)."""
    value = row.get(name)
    if not isinstance(value, str):
        if name not in row:
            return "", f"{name!r} is missing; {names_in(row)}"
        return "", f"{name!r} must be text, not {type(value).__name__}"
    return checked_text(value, repr(name))


def names_in(row: Mapping[str, Any]) -> str:
    """The end of a sentence on what is missing: the names that are there."""
    return f"there is {', '.join(row)[:200] or 'nothing'}"


def one_line(text: str) -> str:
    """The text with every line break, and the white space around it, as one space.

    A caption is one, however it was wrapped: in a file of its own, in JSON or in a quoted cell.
    """
    return " ".join(filter(None, (line.strip() for line in text.splitlines())))


def checked_text(value: str, name: str) -> tuple[str, str | None]:
    """(the text without white space around it, None), or ("", what is wrong with it)."""
    text = value.strip()
    if not text:
        return "", f"{name} must not be empty"
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can escape half of a surrogate pair
        return "", f"{name} holds half a character, which no encoding can write"
    return text, None
