import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.datasets.any_bytes import any_bytes
from training.datasets.rows import DataError, LeftOut, cells_of, json_lines, lines_of, rows_of, text_in

CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)

quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


def written(folder: Path, data: bytes, name: str = "rows.tsv") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@quick
@given(any_bytes(200))
def test_every_line_is_given_or_counted(tmp_path: Path, data: bytes) -> None:
    """Protects rows from vanishing: each line feed ends one line, which is either text or a counted fault."""
    left_out = LeftOut(strict=False)
    given_lines = list(lines_of(written(tmp_path, data), left_out))
    lines = data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    assert len(given_lines) + left_out.counts.total() == lines


@quick
@given(st.lists(st.lists(CELLS, min_size=2, max_size=3), max_size=5))
def test_what_a_csv_writer_writes_is_read_back(tmp_path: Path, table: list[list[str]]) -> None:
    """Protects quoted captions with tabs, quotes and line ends in them."""
    table = [[cell.replace("\r", "") for cell in row] for row in table]
    out = io.StringIO()
    csv.writer(out, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(table)
    path = written(tmp_path, out.getvalue().encode())
    read = [cells for _, cells in cells_of(path, LeftOut(), separator="\t", quoted=True)]
    assert read == table


@quick
@given(st.binary(max_size=120), st.booleans())
def test_no_bytes_break_the_reading_of_tables(tmp_path: Path, data: bytes, quoted: bool) -> None:
    """Protects tolerant reading from stopping at bytes it did not expect."""
    path = written(tmp_path, b"a\tb\n" + data)
    left_out = LeftOut(strict=False)
    for _, row in rows_of(path, left_out, needed=("a", "b"), quoted=quoted):
        assert set(row) == {"a", "b"}


@quick
@given(any_bytes(120))
def test_no_bytes_break_the_reading_of_json_lines(tmp_path: Path, data: bytes) -> None:
    """Protects tolerant reading of JSONL in the same way, and gives nothing but objects."""
    left_out = LeftOut(strict=False)
    for _, row in json_lines(written(tmp_path, data, "rows.jsonl"), left_out):
        assert isinstance(row, dict)


@quick
@given(st.recursive(st.none() | st.integers() | CELLS, lambda x: st.lists(x) | st.dictionaries(CELLS, x)))
def test_only_objects_are_rows(tmp_path: Path, value: object) -> None:
    """Protects readers from JSON that is well-formed and is not a row."""
    left_out = LeftOut(strict=False)
    rows = list(json_lines(written(tmp_path, json.dumps(value).encode(), "rows.jsonl"), left_out))
    assert [row for _, row in rows] == ([value] if isinstance(value, dict) else [])
    assert len(rows) + left_out.counts.total() == 1


def test_deep_json_is_a_fault_and_not_a_crash(tmp_path: Path) -> None:
    """Protects reading from nesting that exhausts the parser."""
    left_out = LeftOut(strict=False)
    assert list(json_lines(written(tmp_path, b"[" * 200_000, "rows.jsonl"), left_out)) == []
    assert left_out.counts == {"no JSON": 1}


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (b"a\tb\n1\t2\n3\n", 3, "has 1 cells where 2 are due"),
        (b"a\tb\n1\t\xff\n", 2, "not UTF-8"),
        (b'a\tb\n1\t2\n"3\t4\n', 3, "not well quoted"),
        (b"a\tc\n1\t2\n", 1, "a column 'b' must stand once in the first row; it has a, c"),
        (b"", 1, "a column 'a' must stand once in the first row; it has none"),
    ],
)
def test_a_strict_fault_names_file_line_and_form(tmp_path: Path, data: bytes, line: int, words: str) -> None:
    """Protects people from having to search for the row that is wrong."""
    path = written(tmp_path, data)
    with pytest.raises(DataError) as error:
        list(rows_of(path, LeftOut(), needed=("a", "b"), quoted=True))
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert words in str(error.value)


def test_rows_after_a_quoted_line_end_keep_their_line_numbers(tmp_path: Path) -> None:
    """Protects line numbers where cells span lines."""
    path = written(tmp_path, b'a\tb\n"1\n1"\t2\n3\t4\n')
    places = [place for place, _ in rows_of(path, LeftOut(), needed=("a",), quoted=True)]
    assert places == [f"{path}:2", f"{path}:4"]


def test_an_account_counts_and_quotes() -> None:
    """Protects the report of what was left out."""
    left_out = LeftOut(strict=False)
    for line in range(5):
        left_out.fault(f"rows.tsv:{line}", "malformed row", "it is wrong")
    left_out.passed_over("not downloaded")
    assert str(left_out).splitlines() == [
        "5 left out: malformed row",
        *(f"  rows.tsv:{line}: it is wrong" for line in range(3)),
        "1 left out: not downloaded",
    ]


@pytest.mark.parametrize("value", [None, 1, "", " \n", "\ud800", ["a"]])
def test_what_is_not_text_is_told(value: object) -> None:
    """Protects training from captions that are empty, of another type, or cannot be encoded."""
    assert text_in({"caption": value}, "caption")[1]


@pytest.mark.parametrize("order", ["le", "be"])
def test_a_table_in_utf_16_is_named(tmp_path: Path, order: str) -> None:
    """Protects people who saved a table as Unicode text from one complaint a line, and no row."""
    path = written(tmp_path, "\ufeffa\tb\r\n1\t2\r\n".encode(f"utf-16-{order}"))
    with pytest.raises(DataError, match="is UTF-16, as spreadsheets save Unicode text: save it as UTF-8"):
        list(rows_of(path, LeftOut(strict=False), needed=("a", "b"), quoted=True))
