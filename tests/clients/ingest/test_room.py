"""What is too large for an index fails alone, and what comes with it is added."""

from dataclasses import replace
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from babelclip import Client
from babelclip.index import Row, Settings, create_index
from babelclip.ingest.add import add
from babelclip.ingest.rows import with_room
from babelclip.ingest.sources.table import TableSource
from tests.clients.ingest.counting import Counting
from tests.clients.ingest.pictures import fill

SETTINGS = Settings(space="in-memory", dim=32, version="1.0", fields={"title": "text"})
BYTES = 65_535  # of a column of text in Milvus


def test_rows_over_the_limits_of_milvus_fail_alone(tmp_path: Path) -> None:
    """A caption, a field and metadata that Milvus has no room for cost their own rows, not the commit."""
    pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed")
    server = Counting()
    client = Client("", transport=server)
    client.health()
    server.images()
    large = [
        {},
        {"caption": "x" * (BYTES + 1)},
        {"title": "é" * BYTES},
        {"notes": "x" * 4 * BYTES},
        {"caption": "x" * BYTES, "title": "y" * BYTES},
    ]
    names = ("caption", "title", "notes")
    table = [
        {"path": str(path), **{name: more.get(name) for name in names}}
        for path, more in zip(fill(tmp_path, len(large)), large, strict=True)
    ]
    parquet.write_table(pyarrow.Table.from_pylist(table), tmp_path / "list.parquet")
    with create_index(str(tmp_path / "index.db"), SETTINGS) as index:
        report = add(index, client, TableSource(tmp_path / "list.parquet"))
        assert (report.embedded, report.failed, len(server.images())) == (2, 3, 2)
        rows = {row.source: row for part in index.scan() for row in part}
        found = [rows[str(row["path"])] for row in table]
        assert [row.error_code for row in found] == ["", *["invalid_item"] * 3, ""]
        assert [("caption" in row.error_message, "title" in row.error_message) for row in found[1:3]] == [
            (True, False),
            (False, True),
        ]
        assert "the details of" in found[3].error_message
        assert (found[4].caption, found[4].metadata["title"]) == ("x" * BYTES, "y" * BYTES)
        assert add(index, client, TableSource(tmp_path / "list.parquet")).unchanged == len(large)


def test_a_row_that_fails_anyway_keeps_its_own_error() -> None:
    """So that what is tried again by every run still is; a source that is itself too large is cut."""
    row = Row(id="1", source="s" * 2000, caption="c", error_code="overloaded", error_message="e" * 2000)
    found = with_room(row, lambda one: "too large" if len(one.source) + len(one.caption) > 2000 else "")
    assert (found.error_code, found.caption, found.source) == ("overloaded", "", row.source)
    assert found.error_message == "e" * 1000
    found = with_room(row, lambda one: "too large" if len(one.source) > 1500 else "")
    assert found.source == "s" * 1000
    whole = replace(row, source="s")
    assert with_room(whole, lambda one: "") is whole
