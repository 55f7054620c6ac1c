"""The Parquet file of a shard."""

from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from babelclip.embeddings import Embeddings
from babelclip.index import row_id
from babelclip.item_errors import ItemError
from batch.output import PartWriter, finished, part_name, read_metadata
from batch.shards import Item, Shard
from batch.storage.local import LocalStorage
from tests.batch.support import DIM, image_job


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_are_those_of_the_input(dtype: str, tmp_path: Path) -> None:
    """Each item has its row, with a vector or a code, in order; columns of the input have their types."""
    columns = pyarrow.schema([("likes", pyarrow.int16()), ("source", pyarrow.string())])
    items = [
        Item("a", b"1", "eins", {"likes": 3, "source": "camera"}),
        Item("b", b"", "", {"likes": None, "source": None}, "unreadable_file", "cannot read b"),
        Item("c", b"3"),
    ]
    vectors = np.eye(2, DIM, dtype=np.float32)
    found = Embeddings(vectors, "in-memory", 50.0, (ItemError(1, "image_undecodable", "no image"),))
    job = image_job(dtype=dtype)
    path = tmp_path / "part.parquet"
    with PartWriter(path, job, columns) as writer:
        counts = writer.write(items, [0, 2], found)
        writer.finish(Shard(7, "tar", "s.tar"), "c" * 64, 50.0)
    assert (counts.items, counts.failed) == (3, {"unreadable_file": 1, "image_undecodable": 1})
    table = parquet.read_table(path)
    kind = pyarrow.float16() if dtype == "float16" else pyarrow.float32()
    assert table.schema.field("vector").type == pyarrow.list_(kind, DIM)
    assert table.schema.field("likes").type == pyarrow.int16()
    rows = table.to_pylist()
    assert [row["id"] for row in rows] == [row_id(name) for name in "abc"]
    assert rows[0]["vector"] == vectors[0].tolist()
    assert rows[0]["input_source"] == "camera"
    assert [row["error"] for row in rows] == [None, "unreadable_file", "image_undecodable"]
    assert [row["vector"] is None for row in rows] == [False, True, True]
    metadata = read_metadata(LocalStorage(tmp_path), "part.parquet")
    assert metadata["space"] == "in-memory"
    assert metadata["archive"] == "0" * 64
    assert metadata["checksum"] == "c" * 64
    assert (metadata["items"], metadata["failed"]) == (3, {"image_undecodable": 1, "unreadable_file": 1})


def test_the_finished_ones_show_by_their_names(tmp_path: Path) -> None:
    """What is half written, or something else, is no output."""
    assert finished(LocalStorage(tmp_path)) == set()
    (tmp_path / "vectors").mkdir()
    for name in (
        Path(part_name(3)).name,
        ".part-0000004.parquet.x.partial",
        "notes.txt",
        "part-5.parquet",
    ):
        (tmp_path / "vectors" / name).touch()
    assert finished(LocalStorage(tmp_path)) == {3}


def test_what_is_no_output_is_said(tmp_path: Path) -> None:
    """Another's Parquet, or no Parquet."""
    parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "other.parquet")
    (tmp_path / "none.parquet").write_bytes(b"nothing")
    for name in ("other", "none"):
        with pytest.raises(ValueError, match="is no output of a shard"):
            read_metadata(LocalStorage(tmp_path), f"{name}.parquet")
