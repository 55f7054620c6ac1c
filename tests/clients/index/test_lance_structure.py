"""What LanceDB's searches become when there are many rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from babelclip.embeddings import Embeddings, Vectors
from babelclip.index import Index, Row, Settings, create_index, open_index
from babelclip.index.lance import index as index_module
from babelclip.index.lance import structure as structure_module
from babelclip.index.structure import Structure
from tests.needs import needs

needs("lancedb", reason="LanceDB is not installed")

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


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Compacted with a structure, as an index of many more rows would be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structure_module, "FLAT_BELOW", COUNT // 2)
        address = str(tmp_path_factory.mktemp("structure") / "index")
        with create_index(address, SETTINGS) as made:
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
    assert (info.method, info.rows, info.failed, info.indexed) == ("ivf_rq", COUNT, 1, COUNT)
    assert info.recall_at_10 is not None
    assert info.recall_at_10 >= 0.99
    with open_index(info.address) as again:
        assert again.info() == info


def test_it_finds_what_exact_search_finds(index: Index) -> None:
    """Queries off the clusters get their nearest rows with exact cosines."""
    found = index.search(QUERIES)
    exact = index.search(QUERIES, exact=True)
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
    where = {"year": 7}
    for some, all_ in zip(
        index.search(QUERIES, where=where), index.search(QUERIES, where=where, exact=True), strict=True
    ):
        assert [hit.row.id for hit in some] == [hit.row.id for hit in all_]


def test_a_filter_gives_as_many_rows_as_it_keeps(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where too few of what it keeps lie near the query, they are looked for everywhere."""
    monkeypatch.setattr(index_module, "_EXACT_BELOW", 1)

    def effort(structure: Structure, wanted: int, share: float = 1.0) -> tuple[int, int]:
        return (1 if share else structure.partitions), 2

    monkeypatch.setattr(Structure, "effort_for", effort)
    for hits in index.search(QUERIES, where={"year": 7}, top=25):
        assert len(hits) == 25
    (page,) = index.search(Embeddings(QUERIES.vectors[:1], "s", 1.0), where={"year": 7}, top=25, offset=20)
    assert len(page) == 10


def test_deep_pages_reach_the_last_row(index: Index) -> None:
    """A search for all rows gives all that have a vector, through a structure too."""
    one = Embeddings(QUERIES.vectors[:1], "s", 1.0)
    (hits,) = index.search(one, top=COUNT + 100, columns=())
    assert {hit.row.id for hit in hits} == {str(n) for n in range(COUNT)}
    (last,) = index.search(one, top=100, offset=COUNT - 50, columns=())
    assert len(last) == 50


def test_new_rows_are_found_before_the_next_compaction(index: Index) -> None:
    """What was added, changed or deleted since the structure was built counts at once."""
    query = QUERIES.vectors[0]
    one = Embeddings(query[None], "s", 1.0)
    index.upsert([Row(id="new", source="new.jpg", vector=query)], space="s")
    assert index.search(one)[0][0].row.id == "new"
    assert index.info().indexed == COUNT
    index.upsert([Row(id="new", source="new.jpg", vector=-query)], space="s")
    assert "new" not in {hit.row.id for hit in index.search(one)[0]}
    assert index.delete(["new"]) == 1
    index.compact()
    assert index.info().rows == COUNT
