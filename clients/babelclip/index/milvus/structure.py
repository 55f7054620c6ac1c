"""What Milvus searches fast by: waited for, and measured, by `Index.compact`.

Milvus itself partitions the vectors of each segment, once the segment is full or flushed. What is ours to
choose is in how many partitions of each a search looks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from babelclip.embeddings import Vectors
from babelclip.index.errors import SearchIndexError
from babelclip.index.milvus.calls import MOST, Server, count, pages
from babelclip.index.milvus.filters import WITH_VECTOR, listed
from babelclip.index.milvus.generations import METHOD, NLIST, Generation
from babelclip.index.milvus.rows import VECTOR
from babelclip.index.recall import AIM, QUERIES, TOP, ExactTop, queries_off_clusters, recall
from babelclip.index.structure import FLAT_BELOW, Structure

if TYPE_CHECKING:
    from pymilvus import MilvusClient

PATIENCE = 6 * 3600.0
"""Seconds after which a structure that is not built yet will not be."""

_SAMPLE = 4096  # rows that queries are made of
_AT_ONCE = 4096  # vectors of one answer
_CHANGED = 0.1  # share of the rows that may be others before the recall is measured again
_PAUSE = 0.2  # seconds
_LEAST_PROBES = 32
"""Of each segment. Fewer would do for many small ones, but Milvus merges them later, and looks into one's."""

_BITS = 32  # of a value: the partitions hold the vectors themselves
_UNINDEXED = 1024  # rows of a segment that is too small to be partitioned, whatever the server's setting


def bring_up_to_date(server: Server, generation: Generation) -> Iterator[Structure | None]:
    """Have all rows partitioned, wait for it, and measure; gives what is to be kept in mind."""
    client, collection = server.client, generation.collection
    client.flush(collection)
    rows = count(client, collection, WITH_VECTOR)
    if rows < FLAT_BELOW and generation.structure is None:
        yield None
        return
    if not server.lite:
        _wait(client, collection)
    structure = generation.structure or Structure(METHOD.lower(), rows, NLIST, _BITS, _LEAST_PROBES, refine=1)
    structure = replace(structure, rows=rows)
    if structure.recall_at_10 is None or abs(rows - structure.measured_rows) > _CHANGED * rows:
        structure = measured(client, collection, structure)
    yield structure


def covered(server: Server, collection: str) -> int:
    """Rows that are in partitions, those without a vector too."""
    if server.lite:
        return int(server.client.describe_index(collection, VECTOR).get("indexed_rows", 0))
    return sum(one.num_rows for one in server.client.list_loaded_segments(collection) if _is_sealed(one))


def measured(client: MilvusClient, collection: str, structure: Structure) -> Structure:
    """The structure with the probes that its recall needs, and that recall."""
    ids = [one["id"] for page in pages(client, collection, WITH_VECTOR, ["id"], MOST) for one in page]
    random = np.random.default_rng(0)
    picked = random.choice(len(ids), size=min(len(ids), max(_SAMPLE, QUERIES)), replace=False)
    found = client.query(
        collection, filter=f"id in {listed(ids[one] for one in picked)}", output_fields=[VECTOR]
    )
    queries = queries_off_clusters(_matrix(found))
    exact = ExactTop(queries)
    for page in pages(client, collection, WITH_VECTOR, ["id", VECTOR], _AT_ONCE):
        exact.add(_matrix(page))
    reached = _recall(client, collection, structure, queries, exact)
    while reached < AIM and structure.probes < NLIST:
        structure = replace(structure, probes=min(NLIST, structure.probes * 2))
        reached = _recall(client, collection, structure, queries, exact)
    return replace(structure, recall_at_10=round(reached, 4), measured_rows=len(ids))


def _wait(client: MilvusClient, collection: str) -> None:
    """Until all rows that are written down are searched by partitions."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        stored = {one.segment_id for one in client.list_persistent_segments(collection)}
        loaded = {one.segment_id for one in client.list_loaded_segments(collection) if _is_sealed(one)}
        pending = client.describe_index(collection, VECTOR).get("pending_index_rows", 0)
        if stored <= loaded and not pending:
            return
        time.sleep(_PAUSE)
    raise SearchIndexError(f"Milvus has not partitioned {collection} in {PATIENCE / 3600:.0f} hours")


def _is_sealed(segment: Any) -> bool:
    """Whether a segment takes no more rows, and is searched by its partitions where it is to have some."""
    sealed = str(getattr(segment.state, "name", segment.state)) == "Sealed"
    return sealed and (bool(segment.index_name) or segment.num_rows < _UNINDEXED)


def _recall(
    client: MilvusClient, collection: str, structure: Structure, queries: Vectors, exact: ExactTop
) -> float:
    found = client.search(
        collection,
        data=list(queries),
        anns_field=VECTOR,
        filter=WITH_VECTOR,
        limit=TOP,
        search_params={"metric_type": "IP", "params": {"nprobe": structure.probes}},
    )
    return recall(exact.cosines, [[float(hit["distance"]) for hit in hits] for hits in found])


def _matrix(found: Any) -> Vectors:
    matrix: Vectors = np.asarray([one[VECTOR] for one in found], dtype=np.float32)
    return matrix
