"""Lists, archives and object stores as sources of an index."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelclip import Client
from babelclip.index import Index, Row, Settings, create_index
from babelclip.ingest.add import add
from babelclip.ingest.sources.base import EntryUnreadable, named_path, path_name
from babelclip.ingest.sources.object_store import ObjectStoreSource
from babelclip.ingest.sources.opening import open_source
from babelclip.ingest.sources.reading import read_row
from babelclip.ingest.sources.table import TableSource
from babelclip.ingest.sources.webdataset import WebDatasetSource, expanded
from tests.clients.ingest.counting import Counting
from tests.clients.ingest.pictures import encoded, fill, picture

FIELDS = {"year": "integer", "album": "text"}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    address = tmp_path_factory.mktemp("sources") / "index"
    with create_index(address, Settings(space="in-memory", dim=32, fields=FIELDS)) as index:
        yield index


@pytest.fixture
def server() -> Counting:
    return Counting()


@pytest.fixture
def client(server: Counting) -> Client:
    return Client("", transport=server)


def rows_of(index: Index, collection: str) -> dict[str, Row]:
    """The rows of a collection by the last part of their source."""
    found = index.scan(
        where={"collection": collection}, columns=("source", "caption", "metadata", "error_code")
    )
    return {row.source.rpartition("/")[2]: row for rows in found for row in rows}


def tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_webdataset(index: Index, client: Client, server: Counting, tmp_path: Path) -> None:
    """Images of shards have their captions and metadata, and are read again by their names."""
    images = [encoded(picture(seed)) for seed in range(3)]
    tar(
        tmp_path / "train-00.tar",
        {
            "a/one.jpg": images[0],
            "a/one.txt": "a café\n".encode(),
            "a/two.jpg": images[1],
            "a/two.json": json.dumps({"caption": "two", "year": "2019"}).encode(),
        },
    )
    tar(tmp_path / "train-01.tar", {"three.JPG": images[2], "three.json": b"[1]", "notes.txt": b"no image"})
    shards = str(tmp_path / "train-{00..01}.tar")
    assert add(index, client, open_source(shards)).embedded == 3
    rows = rows_of(index, shards)
    assert {name: row.caption for name, row in rows.items()} == {
        "one.jpg": "a café",
        "two.jpg": "two",
        "train-01.tar#three.JPG": "",
    }
    assert rows["two.jpg"].metadata["year"] == 2019
    assert read_row(rows["two.jpg"]) == images[1]
    assert read_row(rows["train-01.tar#three.JPG"]) == images[2]
    assert add(index, client, open_source(shards)).unchanged == 3

    # A shard that is cut off says nothing of what was in it.
    whole = (tmp_path / "train-00.tar").read_bytes()
    (tmp_path / "train-00.tar").write_bytes(whole[:700])
    report = add(index, client, open_source(shards))
    assert (report.dropped, [Path(skip.path).name for skip in report.skipped]) == (0, ["train-00.tar"])
    (tmp_path / "train-00.tar").write_bytes(whole)
    assert add(index, client, open_source(shards)).unchanged == 1


def test_shards_of_a_range(tmp_path: Path) -> None:
    """A range in braces is every number with its zeros, `*` what there is, and a mad range is refused."""
    for number in ("08", "09", "10"):
        (tmp_path / f"a-{number}.tar").touch()
    names = [path.name for path in expanded(str(tmp_path / "a-{08..10}.tar"))]
    assert names == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert [path.name for path in expanded(str(tmp_path / "*.tar"))] == names
    with pytest.raises(ValueError, match="is no range"):
        expanded("a-{5..1}.tar")
    with pytest.raises(ValueError, match="there are no files"):
        WebDatasetSource(str(tmp_path / "b-*.tar"))


@settings(max_examples=40)
@given(st.binary(max_size=2000))
def test_bytes_that_are_no_shard(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever a shard holds, it gives entries or is skipped, and never raises."""
    path = tmp_path_factory.mktemp("shard") / "a.tar"
    path.write_bytes(data)
    assert isinstance(list(WebDatasetSource(str(path)).entries()), list)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_table(suffix: str, index: Index, client: Client, server: Counting, tmp_path: Path) -> None:
    """A column has the paths, one the captions, and the others are metadata of the declared types."""
    paths = fill(tmp_path, 2)
    rows = [
        {"path": str(paths[0].relative_to(tmp_path)), "caption": "first, ₿", "year": "2001", "album": "sea"},
        {"path": str(paths[1]), "caption": "", "year": "", "album": "7"},
        {"path": "nowhere.jpg", "caption": "gone", "year": "1999", "album": ""},
        {"path": str(paths[1].parent / "." / paths[1].name), "caption": "", "year": "no year", "album": ""},
        {"path": f"https://example.com/{suffix}/a.jpg", "caption": "", "year": "", "album": ""},
    ]
    table = tmp_path / f"list{suffix}"
    write_table(table, rows)
    source = open_source(str(table))
    report = add(index, client, source)
    assert (report.listed, report.embedded, report.failed) == (4, 2, 2)
    found = rows_of(index, source.collection)
    first = found[paths[0].name]
    assert (first.caption, first.metadata["year"], first.metadata["album"]) == ("first, ₿", 2001, "sea")
    assert found["nowhere.jpg"].error_code == "unreadable_file"
    assert found["a.jpg"].error_code == "image_not_fetched"
    server.images()

    # Another caption of the same image costs no embedding.
    write_table(table, [{**rows[0], "caption": "changed"}, *rows[1:]])
    report = add(index, client, open_source(str(table)))
    assert (report.updated, report.embedded, server.images()) == (1, 0, [])
    assert rows_of(index, source.collection)[paths[0].name].caption == "changed"


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet

        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
        return
    import csv

    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)


def test_a_value_of_another_type_is_an_error_of_its_row(index: Index, client: Client, tmp_path: Path) -> None:
    """Metadata that does not fit a declared field costs its own row alone, and the error says so."""
    paths = fill(tmp_path, 2)
    rows = [{"path": path.name, "year": year} for path, year in zip(paths, ("2001", "soon"), strict=True)]
    for path in paths:
        path.rename(tmp_path / path.name)
    write_table(tmp_path / "list.csv", rows)
    source = open_source(str(tmp_path / "list.csv"))
    report = add(index, client, source)
    assert (report.embedded, report.failed) == (1, 1)
    assert rows_of(index, source.collection)["00001.jpg"].error_code == "invalid_item"


def test_a_table_that_is_none(tmp_path: Path) -> None:
    """A table without a column of images, and bytes that are no Parquet, are told of in one line."""
    write_table(tmp_path / "list.csv", [{"name": "a", "year": "1"}])
    with pytest.raises(ValueError, match=r"has no column image, .* or source; it has name, year"):
        list(open_source(str(tmp_path / "list.csv")).entries())
    (tmp_path / "list.parquet").write_bytes(b"no Parquet")
    with pytest.raises(ValueError, match="is no Parquet file"):
        open_source(str(tmp_path / "list.parquet")).total()


def test_addresses_are_fetched_only_by_what_may(tmp_path: Path) -> None:
    """An address in a table goes to the fetcher that was given, and to nothing else."""
    write_table(tmp_path / "list.csv", [{"url": "https://example.com/a.jpg"}])
    (entry,) = TableSource(tmp_path / "list.csv").entries()
    with pytest.raises(EntryUnreadable, match="nothing is fetched"):
        entry.read()
    (entry,) = TableSource(tmp_path / "list.csv", fetch=str.encode).entries()
    assert entry.read() == b"https://example.com/a.jpg"


def test_coco(index: Index, client: Client, tmp_path: Path) -> None:
    """Images that COCO's annotations name are added with the first caption, and all captions as metadata."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    for seed in (1, 2):
        (tmp_path / "val2017" / f"{seed}.jpg").write_bytes(encoded(picture(seed)))
    annotations = tmp_path / "annotations" / "captions_val2017.json"
    annotations.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
                "categories": [{"id": 7, "name": "cat"}],
                "annotations": [
                    {"image_id": 1, "caption": "a cat "},
                    {"image_id": 1, "caption": "un chat"},
                    {"image_id": 2, "category_id": 7},
                ],
            }
        )
    )
    source = open_source(str(annotations))
    assert add(index, client, source).embedded == 2
    rows = rows_of(index, source.collection)
    assert rows["1.jpg"].caption == "a cat"
    assert rows["1.jpg"].metadata["captions"] == ["a cat", "un chat"]
    assert rows["2.jpg"].metadata["categories"] == ["cat"]
    annotations.write_text('{"images": [{"id": []}]}')
    with pytest.raises(ValueError, match="does not hold COCO's annotations"):
        open_source(str(annotations))


def test_unsplash(index: Index, client: Client, tmp_path: Path) -> None:
    """Photographs of Unsplash have the descriptions of its table, or of the JSON beside them."""
    for seed, name in enumerate(("aaa", "bbb", "ccc")):
        (tmp_path / f"{name}.jpg").write_bytes(encoded(picture(seed)))
    (tmp_path / "photos.tsv000").write_text(
        "photo_id\tphoto_description\tai_description\tphotographer_username\n"
        'aaa\ta "quoted dog\t\tann\nbbb\t\tby a machine\tbob\n'
    )
    (tmp_path / "ccc.json").write_text(
        json.dumps(
            {"id": "ccc", "urls": {"small": "https://images.unsplash.com/ccc"}, "alt_description": "sea"}
        )
    )
    source = open_source(str(tmp_path))
    assert add(index, client, source).embedded == 3
    rows = rows_of(index, source.collection)
    assert [rows[f"{name}.jpg"].caption for name in ("aaa", "bbb", "ccc")] == [
        'a "quoted dog',
        "by a machine",
        "sea",
    ]
    assert rows["aaa.jpg"].metadata["photographer"] == "ann"
    assert rows["ccc.jpg"].metadata["url"] == "https://images.unsplash.com/ccc"


def test_object_store(index: Index, client: Client) -> None:
    """Images of a store are added by their addresses, followed by their tags, and read again."""
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe("/bucket/photographs/a/one.jpg", encoded(picture(1)))
    store.pipe("/bucket/photographs/two.png", encoded(picture(2), "PNG"))
    store.pipe("/bucket/photographs/notes.txt", b"no image")
    source = open_source("memory://bucket/photographs")
    assert add(index, client, source).embedded == 2
    rows = rows_of(index, source.collection)
    assert rows.keys() == {"one.jpg", "two.png"}
    assert read_row(rows["one.jpg"]) == encoded(picture(1))
    assert add(index, client, source).unchanged == 2
    store.rm("/bucket/photographs/two.png")
    assert add(index, client, source).dropped == 1


@pytest.mark.parametrize("place", ["https://example.com/images", "ftp://host/a", "simplecache::s3://b/c"])
def test_web_addresses_are_no_stores(place: str) -> None:
    """fsspec would fetch from anywhere: only object stores are opened by their addresses."""
    with pytest.raises(ValueError, match="no folder, no file and no address"):
        open_source(place)
    with pytest.raises(ValueError, match="of no object store"):
        ObjectStoreSource(place)


@settings(max_examples=60)
@given(st.binary(min_size=1, max_size=40).filter(lambda name: b"/" not in name and b"\0" not in name))
def test_names_lead_back_to_their_paths(name: bytes) -> None:
    """The name of a path is text that Unicode allows, and leads back to the same bytes."""
    import os

    path = Path("/photographs") / os.fsdecode(name)
    text = path_name(path)
    text.encode("utf-8")
    if b"\\x" not in name and name not in (b".", b".."):
        assert os.fsencode(named_path(text)) == os.fsencode(path)
