"""Rows of tables as items."""

from functools import partial
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from batch.inputs.cutting import cut
from batch.inputs.places import Places
from batch.inputs.reading import batches
from batch.job import Job
from batch.shards import Item, Shard, ShardError
from batch.storage.local import LocalStorage
from tests.batch.support import image_job


def items_of(path: Path, job: Job, listing: Path) -> tuple[pyarrow.Schema, list[Item]]:
    """The kept columns, and all items of all shards."""
    found = []
    with listing.open("wb") as paths:
        shards = list(cut([str(path)], job.modality, job.shard_size, Places(), paths))
    for shard in shards:
        with batches(
            shard, job, Places(), partial(LocalStorage(listing.parent).reading, listing.name), 2
        ) as (schema, groups):
            found += [item for group in groups for item in group]
    return schema, found


def test_images_in_parquet(tmp_path: Path) -> None:
    """Bytes, a struct of `datasets`, a path beside the table: each is the image; other columns are kept."""
    (tmp_path / "beside.jpg").write_bytes(b"three")
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = pyarrow.table(
        {
            "image": pyarrow.array(
                [{"bytes": b"one", "path": "x.jpg"}, {"bytes": None, "path": "beside.jpg"}, None], image
            ),
            "caption": ["eins", None, "drei"],
            "likes": pyarrow.array([1, None, 3], pyarrow.int16()),
        }
    )
    parquet.write_table(table, tmp_path / "t.parquet")
    schema, items = items_of(tmp_path / "t.parquet", image_job(), tmp_path / "listing")
    assert schema == pyarrow.schema([("likes", pyarrow.int16())])
    assert [(one.data, one.caption, one.columns["likes"], one.code) for one in items] == [
        (b"one", "eins", 1, ""),
        (b"three", "", None, ""),
        (b"", "drei", 3, "invalid_item"),
    ]
    assert items[0].source == f"{tmp_path / 't.parquet'}#0"
    assert items[1].source == str(tmp_path / "beside.jpg")


def test_nothing_is_fetched_unless_allowed(tmp_path: Path) -> None:
    """An address in a table is asked for by whoever allows its host, and is an error of its row otherwise."""
    (tmp_path / "t.csv").write_text("url,text\nhttp://127.0.0.1:9/x.jpg,a\nmissing.jpg,b\n", encoding="utf-8")
    _, items = items_of(tmp_path / "t.csv", image_job(), tmp_path / "listing")
    assert [(one.code, one.caption) for one in items] == [
        ("image_not_fetched", "a"),
        ("unreadable_file", "b"),
    ]


def test_texts_of_lines(tmp_path: Path) -> None:
    """Each line is a text, whichever line end it has; it stands in the row, too."""
    (tmp_path / "t.txt").write_bytes("\ufeffein Apfel\r\n赤い丸\n\nlast".encode())
    _, items = items_of(tmp_path / "t.txt", image_job(modality="text", shard_size=3), tmp_path / "listing")
    assert [one.data.decode() for one in items] == ["ein Apfel", "赤い丸", "", "last"]
    assert items[3].source == f"{tmp_path / 't.txt'}#3"
    assert items[1].caption == "赤い丸"


def test_a_text_that_is_none_is_an_error_of_its_row(tmp_path: Path) -> None:
    """A number or nothing where a text is due costs that row alone."""
    parquet.write_table(pyarrow.table({"n": [1, 2], "text": ["a", None]}), tmp_path / "t.parquet")
    _, items = items_of(tmp_path / "t.parquet", image_job(modality="text"), tmp_path / "listing")
    assert [one.code for one in items] == ["", "invalid_item"]
    _, items = items_of(tmp_path / "t.parquet", image_job(modality="text", column="n"), tmp_path / "listing")
    assert [one.message for one in items] == ["a text must be a text, not int"] * 2


def test_a_table_without_a_column_to_embed(tmp_path: Path) -> None:
    """The error names the columns that are there and the option that chooses one."""
    (tmp_path / "t.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ShardError, match="it has a, b: name one with --column"):
        items_of(tmp_path / "t.csv", image_job(), tmp_path / "listing")


def test_a_file_that_has_changed_is_refused(tmp_path: Path) -> None:
    """Places of the manifest would be others in it."""
    (tmp_path / "t.txt").write_text("a\nb\n", encoding="utf-8")
    shard = Shard(0, "lines", str(tmp_path / "t.txt"), count=2, rows=2, size=3)
    with (
        pytest.raises(ShardError, match="has changed"),
        batches(
            shard, image_job(modality="text"), Places(), partial(LocalStorage(tmp_path).reading, "listing")
        ),
    ):
        pass
