"""What every engine of an index does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from babelclip.embeddings import Embeddings, Vectors
from babelclip.errors import SpaceMismatch
from babelclip.index import (
    Index,
    IndexExists,
    IndexNotFound,
    InvalidFilter,
    Row,
    SearchIndexError,
    Settings,
    create_index,
    drop_index,
    open_index,
    row_id,
)
from tests.clients.index.engines import ENGINES, new_address

DIM = 8
SETTINGS = Settings(space="a space", dim=DIM, version="1.0", fields={"album": "text", "year": "integer"})


def unit(count: int, seed: int = 0) -> Vectors:
    """float32 [count, DIM], each row of length 1."""
    rows = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    normal: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return normal


VECTORS = unit(40)


def rows() -> list[Row]:
    """40 rows with a vector, and one without."""
    good = [
        Row(
            id=row_id(f"{n}.jpg"),
            source=f"{n}.jpg",
            vector=VECTORS[n],
            thumbnail=b"small",
            metadata={"album": "odd's" if n % 2 else "even", "year": 1990 + n, "other": [n]},
        )
        for n in range(40)
    ]
    return [*good, Row(id="broken", source="broken.jpg", error_code="image_undecodable", error_message="no")]


@pytest.fixture(params=ENGINES)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_address(request, request.param, tmp_path)


@pytest.fixture
def index(address: str) -> Iterator[Index]:
    with create_index(address, SETTINGS) as made:
        made.upsert(rows(), space=SETTINGS.space)
        yield made


@pytest.fixture(scope="module", params=ENGINES)
def unchanged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """For tests that change nothing: to make an index takes an engine seconds."""
    address = new_address(request, request.param, tmp_path_factory.mktemp("unchanged"))
    with create_index(address, SETTINGS) as made:
        made.upsert(rows(), space=SETTINGS.space)
        yield made


def asked(vectors: Vectors, space: str = SETTINGS.space) -> Embeddings:
    return Embeddings(vectors, space, 1.0)


def test_a_search_gives_the_nearest_rows_with_their_cosines(unchanged: Index) -> None:
    """Rows come nearest first, cosines are those of the vectors, and a row without a vector never comes."""
    for hits, vector in zip(unchanged.search(asked(VECTORS[:3]), top=50), VECTORS, strict=False):
        cosines = VECTORS @ vector
        assert [hit.row.source for hit in hits] == [f"{n}.jpg" for n in np.argsort(-cosines)]
        np.testing.assert_allclose([hit.cosine for hit in hits], -np.sort(-cosines), atol=1e-5)


def test_pages_continue_where_the_one_before_ended(unchanged: Index) -> None:
    """`offset` skips the first hits, so that pages together are the whole ranking."""
    (whole,) = unchanged.search(asked(VECTORS[:1]), top=12)
    pages = [unchanged.search(asked(VECTORS[:1]), top=5, offset=at)[0] for at in (0, 5, 10)]
    assert [hit.row.id for page in pages for hit in page][:12] == [hit.row.id for hit in whole]


def test_a_filter_leaves_as_many_hits_as_there_are(unchanged: Index) -> None:
    """A filter chooses candidates before the search, so that rare rows are found too."""
    (hits,) = unchanged.search(asked(VECTORS[:1]), top=3, where={"year": {"$gte": 2028}})
    assert sorted(hit.row.metadata["year"] for hit in hits) == [2028, 2029]


def test_counts_and_scans_hold_rows_without_a_vector(unchanged: Index) -> None:
    """What failed is a row like any other, but for its vector."""
    assert unchanged.count() == 41
    (failed,) = [row for part in unchanged.scan(where={"error_code": {"$ne": ""}}) for row in part]
    assert (failed.source, failed.error_code) == ("broken.jpg", "image_undecodable")
    info = unchanged.info()
    assert (info.rows, info.failed, info.settings) == (40, 1, SETTINGS)


def test_rows_are_listed_page_by_page(unchanged: Index) -> None:
    """Pages follow each other in the order of the ids, by filters too, and hold every row once."""
    everything = sorted([*(row_id(f"{n}.jpg") for n in range(40)), "broken"])
    for size in (1, 7, 41, 100):
        found: list[str] = []
        while page := unchanged.page(after=found[-1] if found else "", size=size, columns=("source",)):
            assert len(page) <= size
            found += [row.id for row in page]
        assert found == everything
    scanned = [row.id for part in unchanged.scan(columns=(), batch_size=7) for row in part]
    assert sorted(scanned) == everything
    assert unchanged.page(after="~") == []
    kept = unchanged.page(where={"album": "even", "year": {"$lt": 2000}}, columns=("metadata",))
    assert sorted(row.metadata["year"] for row in kept) == [1990, 1992, 1994, 1996, 1998]
    assert [row.id for row in kept] == sorted(row.id for row in kept)
    (first,) = unchanged.page(after="br", size=1, columns=("thumbnail", "error_code"))
    assert (first.id, first.thumbnail, first.error_code) == ("broken", b"", "image_undecodable")
    with pytest.raises(InvalidFilter):
        unchanged.page(where={"none": 1})


def test_columns_are_read_as_asked(unchanged: Index) -> None:
    """Vectors and thumbnails are read where they are asked for, and metadata comes back as it was given."""
    first, none = unchanged.get([row_id("3.jpg"), "unknown"], columns=("vector", "thumbnail", "metadata"))
    assert none is None
    assert first is not None
    assert first.vector is not None
    np.testing.assert_array_equal(first.vector, VECTORS[3])
    assert first.thumbnail == b"small"
    assert first.metadata == {"album": "odd's", "year": 1993, "other": [3]}
    (plain,) = unchanged.get([row_id("3.jpg")])
    assert plain is not None
    assert plain.vector is None
    assert plain.thumbnail == b""


def test_an_upsert_replaces_rows_of_the_same_id(index: Index) -> None:
    """A row that failed gets a vector in its place, and the last row of an id counts."""
    again = [
        Row(id="broken", source="broken.jpg", vector=VECTORS[0]),
        Row(id="broken", source="mended.jpg", vector=VECTORS[1]),
    ]
    index.upsert(again, space=SETTINGS.space)
    assert index.count() == 41
    (row,) = index.get(["broken"])
    assert row is not None
    assert (row.source, row.error_code) == ("mended.jpg", "")


def test_rows_are_deleted_by_id_and_by_filter(index: Index) -> None:
    """A deletion says how many rows it met, and leaves the others."""
    assert index.delete(["broken", "unknown"]) == 1
    assert index.delete(where={"album": "odd's"}) == 20
    assert index.count() == 20


@pytest.mark.parametrize(
    "row",
    [
        Row(id="x", source="x"),
        Row(id="x", source="x", vector=VECTORS[0], error_code="both"),
        Row(id="x", source="x", vector=np.full(DIM, np.nan, np.float32)),
        Row(id="x", source="x", vector=VECTORS[0], metadata={"year": "1999"}),
    ],
    ids=["neither", "both", "not-finite", "wrong-type"],
)
def test_a_row_that_is_not_valid_leaves_the_index_as_it_was(unchanged: Index, row: Row) -> None:
    """Rows are taken all or not at all."""
    with pytest.raises(ValueError, match="'x'"):
        unchanged.upsert([Row(id="good", source="good", vector=VECTORS[0]), row], space=SETTINGS.space)
    assert unchanged.count() == 41


def test_vectors_of_another_space_are_refused(unchanged: Index) -> None:
    """Vectors of two spaces never meet, neither as rows nor in a search."""
    with pytest.raises(SpaceMismatch):
        unchanged.upsert([Row(id="x", source="x", vector=VECTORS[0])], space="another")
    with pytest.raises(SpaceMismatch):
        unchanged.search(asked(VECTORS[:1], space="another"))
    with pytest.raises(SpaceMismatch):
        unchanged.search(asked(np.ones((1, 2), np.float32)))


def test_a_generation_is_filled_beside_the_current_one(index: Index, address: str) -> None:
    """Rows of another model are searched from the moment it is promoted, by all who have the index open."""
    other = Settings(space="newer", dim=2, version="2.0")
    with open_index(address) as reader, index.begin_generation("2", other) as filled:
        filled.upsert([Row(id="one", source="one", vector=np.array([1, 0], np.float32))], space="newer")
        assert reader.settings == SETTINGS
        index.promote("2")
        assert reader.settings == other
        (hits,) = reader.search(asked(np.array([[1, 0]], np.float32), "newer"))
        assert [hit.row.id for hit in hits] == ["one"]
        with pytest.raises(ValueError, match="current"):
            index.drop_generation("2")
        index.drop_generation("1")
        assert list(reader.generations()) == ["2"]


def test_an_index_is_made_once(unchanged: Index) -> None:
    """A second index never takes the place of one that is there."""
    with pytest.raises(IndexExists):
        create_index(unchanged.info().address, SETTINGS)


def test_an_index_is_dropped_with_all_its_generations(index: Index, address: str) -> None:
    """Nothing is left at its address, and a new one may be made there."""
    index.begin_generation("2", SETTINGS).close()
    drop_index(address)
    with pytest.raises(IndexNotFound):
        open_index(address)
    with pytest.raises(IndexNotFound):
        drop_index(address)
    with create_index(address, SETTINGS) as again:
        assert (again.count(), list(again.generations())) == (0, ["1"])


def test_what_is_no_index_is_not_opened(tmp_path: Path) -> None:
    """A wrong address is an error that says so, and makes nothing."""
    with pytest.raises(IndexNotFound):
        open_index(tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"albm": "x"}, "no field 'albm'"),
        ({"year": "1999"}, "integer"),
        ({"year": {"$like": 1}}, "no comparison"),
        ({"$or": []}, "at least one"),
        ([], "must be an object"),
    ],
    ids=str,
)
def test_a_filter_that_is_not_valid_is_explained(unchanged: Index, where: object, words: str) -> None:
    """A filter that cannot be used is refused with the place and what is allowed."""
    with pytest.raises(InvalidFilter, match=words):
        unchanged.count(where)  # type: ignore[arg-type]


def test_compaction_leaves_the_rows(index: Index) -> None:
    """After a compaction the index answers as before."""
    before = index.search(asked(VECTORS[:1]), top=5)[0]
    index.compact()
    after = index.search(asked(VECTORS[:1]), top=5)[0]
    assert [hit.row.id for hit in before] == [hit.row.id for hit in after]


def test_an_address_that_no_engine_knows_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address of another store is refused with those that there are, and no folder is made of it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SearchIndexError, match="s3://"):
        create_index("redis://127.0.0.1:6379/photographs", SETTINGS)
    assert not list(tmp_path.iterdir())
