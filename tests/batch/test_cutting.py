"""The input, cut into shards."""

import csv
import io
import json
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from batch.inputs.cutting import cut
from batch.inputs.places import Places, expand
from batch.inputs.rows import table_items
from batch.shards import Shard
from tests.batch.support import image_job, make_shards


def shards_of(*inputs: Path | str, modality: str = "image", size: int = 2) -> tuple[list[Shard], list[str]]:
    """The shards, and the paths of the listing."""
    listing = io.BytesIO()
    found = list(cut([str(one) for one in inputs], modality, size, Places(), listing))  # type: ignore[arg-type]
    return found, [json.loads(line) for line in listing.getvalue().splitlines()]


def test_a_folder_is_cut_into_runs(tmp_path: Path) -> None:
    """Images of a folder and of those below are listed in order, hidden and other files are not."""
    for name in ("b.jpg", "a/2.png", "a/1.jpeg", ".hidden/x.jpg", "notes.txt", "c.webp", "d.GIF"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found, listing = shards_of(tmp_path)
    names = ["a/1.jpeg", "a/2.png", "b.jpg", "c.webp", "d.GIF"]
    assert listing == [str(tmp_path / name) for name in names]
    assert [(one.number, one.kind, one.count) for one in found] == [
        (0, "files", 2),
        (1, "files", 2),
        (2, "files", 1),
    ]
    lines = [json.dumps(one) + "\n" for one in listing]
    assert [one.begin for one in found] == [0, len("".join(lines[:2])), len("".join(lines[:4]))]


def test_a_shard_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    """Named by its path, by a pattern or by a link, or in a folder: its items are embedded once."""
    first, second = make_shards(tmp_path / "shards", 2)
    (tmp_path / "link.tar").symlink_to(first)
    found, _ = shards_of(first, tmp_path / "shards" / "*.tar", tmp_path / "link.tar")
    assert [one.source for one in found] == [str(first), str(second)]
    assert [one.number for one in found] == [0, 1]
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "a.jpg").touch()
    assert len(shards_of(pictures, f"{pictures}/")[0]) == 1


def test_a_folder_of_tars_is_its_tars(tmp_path: Path) -> None:
    """What lies beside shards, such as img2dataset's tables of statistics, is no input."""
    made = make_shards(tmp_path, 2)
    (tmp_path / "000.parquet").touch()
    (tmp_path / "000_stats.json").touch()
    found, _ = shards_of(tmp_path)
    assert [(one.kind, one.source) for one in found] == [("tar", str(path)) for path in made]


def test_braces_and_patterns(tmp_path: Path) -> None:
    """A range is written out with its zeros, also in an address; too long a one is refused."""
    assert list(expand("s3://b/{08..11}.tar")) == [f"s3://b/{n}.tar" for n in ("08", "09", "10", "11")]
    assert list(expand("https://host/a*.tar")) == ["https://host/a*.tar"]
    with pytest.raises(ValueError, match="no range of at most"):
        list(expand("{0..9999999}.tar"))


def test_parquet_is_cut_at_its_row_groups(tmp_path: Path) -> None:
    """Row groups are put together up to the size of a shard, and one that is larger stays whole."""
    table = pyarrow.table({"text": [str(n) for n in range(10)]})
    with parquet.ParquetWriter(tmp_path / "t.parquet", table.schema) as writer:
        for start, stop in ((0, 2), (2, 3), (3, 8), (8, 10)):
            writer.write_table(table.slice(start, stop - start))
    found, _ = shards_of(tmp_path / "t.parquet", modality="text", size=3)
    assert [(one.begin, one.count, one.first, one.rows) for one in found] == [
        (0, 2, 0, 3),
        (2, 1, 3, 5),
        (3, 1, 8, 2),
    ]


CELL = st.text(st.sampled_from('ab"\n\r,é赤 '), max_size=6)


@settings(max_examples=40)
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=9), size=st.integers(1, 4))
def test_runs_of_a_csv_are_its_rows(
    rows: list[tuple[str, str]], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever quotes and line ends the fields hold, the runs together give each row once, in order."""
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "other"), *rows])
    found, _ = shards_of(path, modality="text", size=size)
    job = image_job(path, modality="text")
    read = []
    for shard in found:
        schema, items = table_items(shard, job, Places())
        assert schema.names == ["other"]
        read += [(item.caption, item.columns["other"]) for item in (call() for call in items)]
    with path.open(encoding="utf-8", newline="") as file:
        whole = [tuple(row) for row in csv.reader(file)][1:]
    assert read == [row for row in whole if row]
    assert all(one.count <= size for one in found)


@pytest.mark.parametrize(
    ("name", "modality", "said"),
    [
        ("a.zip", "image", "no folder"),
        ("a.tar", "text", "those are .txt"),
        ("missing.tar", "image", "No such file"),
        ("none-*.tar", "image", "there is nothing to embed"),
        ("no-parquet.parquet", "image", "is no Parquet file"),
    ],
)
def test_what_is_no_input_is_said(name: str, modality: str, said: str, tmp_path: Path) -> None:
    """An input of another kind, or one that is not there, is refused with what is allowed."""
    (tmp_path / "no-parquet.parquet").write_bytes(b"nothing")
    with pytest.raises((ValueError, OSError), match=said):
        shards_of(tmp_path / name, modality=modality)
