"""What is Milvus's own: addresses, what a column can hold, partitions, and several processes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import numpy as np
import pytest

from babelclip.embeddings import Embeddings, Vectors
from babelclip.index import (
    Index,
    IndexNotFound,
    Row,
    SearchIndexError,
    Settings,
    create_index,
    open_index,
)
from babelclip.index.milvus import structure as structure_module
from tests.clients.index.together import work_together
from tests.needs import needs

needs("pymilvus", reason="pymilvus is not installed")

pytestmark = pytest.mark.slow

COUNT, DIM = 3000, 32
SETTINGS = Settings(space="s", dim=DIM, fields={"year": "integer"})


def clustered(count: int, seed: int) -> Vectors:
    """float32 [count, DIM] of length 1, in 30 clusters."""
    centres = np.random.default_rng(7).normal(size=(30, DIM))
    random = np.random.default_rng(seed)
    rows = centres[random.integers(30, size=count)] + 0.4 * random.normal(size=(count, DIM))
    unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


VECTORS = clustered(COUNT, 0)
ASKED = np.random.default_rng(1).normal(size=(40, DIM)).astype(np.float32)
QUERIES = Embeddings(ASKED / np.linalg.norm(ASKED, axis=1, keepdims=True), "s", 1.0)


def new_name(milvus_address: str) -> str:
    return f"{milvus_address}/m-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def index(milvus_address: str) -> Iterator[Index]:
    """Compacted with a structure, as an index of many more rows would be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structure_module, "FLAT_BELOW", COUNT // 2)
        with create_index(new_name(milvus_address), SETTINGS) as made:
            rows = [
                Row(id=str(n), source=f"{n}.jpg", vector=vector, metadata={"year": n % 100})
                for n, vector in enumerate(VECTORS)
            ]
            made.upsert([*rows, Row(id="broken", source="x", error_code="image_undecodable")], space="s")
            made.compact()
            yield made


def test_its_recall_is_measured_and_kept(index: Index) -> None:
    """Who opens the index learns the method, what it covers, and the recall that its parameters give."""
    info = index.info()
    assert (info.engine, info.method, info.rows, info.failed) == ("milvus", "ivf_flat", COUNT, 1)
    assert info.indexed == COUNT
    assert info.recall_at_10 is not None
    assert info.recall_at_10 >= 0.99
    assert info.parameters["nprobe"] < info.parameters["nlist"]
    with open_index(info.address) as again:
        assert again.info() == info


def test_it_finds_what_exact_search_finds(index: Index) -> None:
    """Queries off the clusters get their nearest rows with exact cosines, and `exact` misses none."""
    found = index.search(QUERIES)
    exact = index.search(QUERIES, exact=True)
    nearest = np.argsort(-(QUERIES.vectors @ VECTORS.T), axis=1)[:, :10]
    assert [[int(hit.row.id) for hit in hits] for hits in exact] == nearest.tolist()
    same = [
        len({hit.row.id for hit in some} & {hit.row.id for hit in all_})
        for some, all_ in zip(found, exact, strict=True)
    ]
    assert sum(same) / (10 * len(same)) >= 0.97
    for hits, query in zip(found, QUERIES.vectors, strict=True):
        cosines = [float(VECTORS[int(hit.row.id)] @ query) for hit in hits]
        np.testing.assert_allclose([hit.cosine for hit in hits], cosines, atol=1e-5)


def test_a_rare_filter_loses_nothing(index: Index) -> None:
    """A filter that keeps one row in a hundred finds the nearest of these, though few are near the query."""
    kept = np.arange(7, COUNT, 100)
    nearest = kept[np.argsort(-(QUERIES.vectors @ VECTORS[kept].T), axis=1)[:, :10]]
    found = index.search(QUERIES, where={"year": 7})
    assert [[int(hit.row.id) for hit in hits] for hits in found] == nearest.tolist()


def test_deep_pages_reach_the_last_row(index: Index) -> None:
    """A search for all rows gives all that have a vector, and what Milvus cannot rank is an error."""
    one = Embeddings(QUERIES.vectors[:1], "s", 1.0)
    (hits,) = index.search(one, top=COUNT + 100, columns=())
    assert {hit.row.id for hit in hits} == {str(n) for n in range(COUNT)}
    (last,) = index.search(one, top=100, offset=COUNT - 50, columns=())
    assert len(last) == 50
    with pytest.raises(SearchIndexError, match="16,384"):
        index.search(one, top=1000, offset=16_000)


def test_new_rows_are_found_before_the_next_compaction(index: Index) -> None:
    """What was added, changed or deleted since the last compaction counts at once."""
    query = QUERIES.vectors[0]
    one = Embeddings(query[None], "s", 1.0)
    index.upsert([Row(id="new", source="new.jpg", vector=query)], space="s")
    assert index.search(one)[0][0].row.id == "new"
    index.upsert([Row(id="new", source="new.jpg", vector=-query)], space="s")
    assert "new" not in {hit.row.id for hit in index.search(one)[0]}
    assert index.delete(["new"]) == 1
    assert index.info().rows == COUNT


def test_a_scan_in_pages_holds_each_row_once(index: Index) -> None:
    """Rows of partitions, rows that came since, and none that was deleted, however small the pages are."""
    added = [f"added-{n}" for n in range(200)]
    index.upsert([Row(id=one, source="x", vector=VECTORS[0]) for one in added], space="s")
    assert index.delete(added[::2]) == 100
    found = [row.id for rows in index.scan(columns=(), batch_size=300) for row in rows]
    assert sorted(found) == sorted([*(str(n) for n in range(COUNT)), "broken", *added[1::2]])
    assert index.delete(where={"id": {"$prefix": "added-"}}) == 100
    assert index.count() == COUNT + 1


def test_long_texts_and_pictures_come_back(milvus_address: str) -> None:
    """What is longer than a column is in several, cut nowhere; what is too long for all is refused."""
    metadata = {"text": "é海" * 15_000}
    thumbnail = np.random.default_rng(0).bytes(80_000)
    row = Row(id="1", source="s", error_code="x", metadata=metadata, thumbnail=thumbnail)
    with create_index(new_name(milvus_address), Settings(space="s", dim=2)) as index:
        index.upsert([row], space="s")
        (found,) = index.get(["1"], columns=("metadata", "thumbnail", "error_code", "vector"))
        assert found is not None
        assert (found.metadata, found.thumbnail, found.vector) == (metadata, thumbnail, None)
        for bad in (
            Row(id="2", source="long", error_code="x", metadata={"text": "x" * 200_000}),
            Row(id="2", source="long", error_code="x", caption="x" * 65_536),
            Row(id="é" * 513, source="long", error_code="x"),
            Row(id="", source="long", error_code="x"),
        ):
            assert "'long'" in index.size_check()(bad)
            with pytest.raises(ValueError, match="'long'"):
                index.upsert([row, bad], space="s")
        assert index.size_check()(row) == ""
        assert index.count() == 1


def test_indexes_whose_names_begin_alike_are_apart(milvus_address: str) -> None:
    """Neither a name that goes on, nor one that Milvus would spell alike, is taken for another's."""
    name = new_name(milvus_address)
    with create_index(name, SETTINGS) as index, create_index(f"{name}_rows_a", SETTINGS) as other:
        other.begin_generation("2", SETTINGS).close()
        assert list(index.generations()) == ["1"]
        assert set(other.generations()) == {"1", "2"}
    alike = name.replace("m-", "m__")
    with pytest.raises(IndexNotFound):
        open_index(alike)
    with pytest.raises(SearchIndexError, match="there is an index"):
        create_index(alike, SETTINGS)


def test_one_handle_is_closed_and_another_goes_on(milvus_address: str) -> None:
    """Handles of a process share a connection, which stays while one of them is open."""
    name = new_name(milvus_address)
    create_index(name, SETTINGS).close()
    with open_index(name) as index:
        with open_index(name) as other:
            assert other.count() == 0
        assert index.count() == 0


def test_processes_add_compact_and_search_together(milvus_address: str) -> None:
    """No row is lost, none stands twice, and no search fails."""
    work_together(new_name(milvus_address), pieces=3, compactions=2)
