"""What makes LanceDB's searches fast: built, brought up to date and measured by `Index.compact`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from babelclip.embeddings import Vectors
from babelclip.index.base import Settings
from babelclip.index.lance.calls import committed
from babelclip.index.lance.sql import DECLARED
from babelclip.index.recall import AIM, QUERIES, TOP, ExactTop, queries_off_clusters, recall
from babelclip.index.structure import FLAT_BELOW, WIDE, Structure

if TYPE_CHECKING:
    import lancedb

METHOD = "ivf_rq"
BITS = 4
VECTOR_INDEX = "vector_idx"
EMBEDDED = "error_code = ''"  # the rows with a vector

KEPT = timedelta(hours=1)
"""How long what a compaction replaced stays, for who still reads it."""

_SAMPLE = 4096  # rows that queries are made of
_TRAINING = 64  # rows for each partition
_ITERATIONS = 20
_AT_ONCE = 4
_MOST_REFINE = 64
_LEAST_PROBES = 8
_CHANGED = 0.1  # share of the rows that may be others before the recall is measured again


async def bring_up_to_date(
    table: lancedb.AsyncTable, settings: Settings, structure: Structure | None
) -> AsyncIterator[Structure | None]:
    """Compact a table's files and update its indexes; gives what is to be kept in mind of them, twice.

    First what is built, by which the table must be searched from then on, then the same with its recall.
    """
    await committed(lambda: table.optimize(cleanup_older_than=KEPT))
    rows = await table.count_rows(EMBEDDED)
    if rows < FLAT_BELOW and structure is None:
        yield None
        return
    await _index_columns(table, settings)
    if structure is None or structure.outgrown(rows):
        structure = await _build(table, rows)
        yield structure
    if structure.recall_at_10 is None or abs(rows - structure.measured_rows) > _CHANGED * rows:
        structure = await measured(table, settings, structure)
    yield structure


def nearest(
    table: lancedb.AsyncTable, vector: Any, structure: Structure | None, wanted: int, share: float = 1.0
) -> lancedb.query.AsyncVectorQuery:
    """A query of the nearest rows; without a structure it compares all of them.

    Args:
        share: of the rows, that the query's filter keeps.
    """
    query = table.query().nearest_to(vector).column("vector").distance_type("dot")
    if structure is None:
        return query.bypass_vector_index()
    probes, refine = structure.effort_for(wanted, share)
    # Without a maximum LanceDB looks into all partitions, whatever the minimum.
    return query.nprobes(probes).refine_factor(refine)


async def uncovered(table: lancedb.AsyncTable) -> int:
    """Rows that came since the vector index was brought up to date."""
    stats = await table.index_stats(VECTOR_INDEX)
    return 0 if stats is None else int(stats.num_unindexed_rows)


async def _index_columns(table: lancedb.AsyncTable, settings: Settings) -> None:
    """Indexes of what rows are looked up and filtered by, where they are missing."""
    from lancedb.index import Bitmap, BTree

    there = {name for index in await table.list_indices() for name in index.columns}
    columns: dict[str, Any] = {
        "id": BTree(),
        "source": BTree(),
        "collection": BTree(),
        "error_code": Bitmap(),
    }
    for name, kind in settings.fields.items():
        columns[DECLARED + name] = Bitmap() if kind == "boolean" else BTree()
    for name, config in columns.items():
        if name not in there:
            await committed(partial(table.create_index, name, config=config))


async def _build(table: lancedb.AsyncTable, rows: int) -> Structure:
    from lancedb.index import IvfRq

    structure = Structure.for_rows(METHOD, rows, BITS)
    config = IvfRq(
        distance_type="dot",
        num_partitions=structure.partitions,
        num_bits=structure.bits,
        sample_rate=_TRAINING,
        max_iterations=_ITERATIONS,
    )
    await committed(lambda: table.create_index("vector", config=config, name=VECTOR_INDEX))
    return structure


async def measured(table: lancedb.AsyncTable, settings: Settings, structure: Structure) -> Structure:
    """The structure with the probes and the refining that its recall needs, and that recall."""
    rows = await table.count_rows(EMBEDDED)
    queries = queries_off_clusters(await _sample(table, settings, rows))
    exact = ExactTop(queries, WIDE)
    found = await table.query().where(EMBEDDED).select(["vector"]).to_batches(max_batch_length=4096)
    async for batch in found:
        await asyncio.to_thread(exact.add, _matrix(batch.column("vector"), settings.dim))
    structure = replace(structure, wide_probes=0)
    nearest_10 = exact.cosines[:, :TOP]
    reached = await _recall(table, structure, queries, nearest_10)
    while reached < AIM:
        steps = [
            replace(structure, probes=min(structure.partitions, structure.probes * 2)),
            replace(structure, refine=min(_MOST_REFINE, structure.refine * 2)),
        ]
        steps = [step for step in steps if step != structure]
        if not steps:
            break
        recalls = [await _recall(table, step, queries, nearest_10) for step in steps]
        best = int(np.argmax(recalls))
        structure, reached = steps[best], recalls[best]
    # Doubled probes may be nearly twice what is needed, and each costs every search.
    while (fewer := structure.probes * 3 // 4) >= _LEAST_PROBES:
        step = replace(structure, probes=fewer)
        recall_of_step = await _recall(table, step, queries, nearest_10)
        if recall_of_step < AIM:
            break
        structure, reached = step, recall_of_step
    wide = structure.probes
    while wide < structure.partitions:
        step = replace(structure, probes=wide, wide_probes=wide)
        if await _recall(table, step, queries, exact.cosines) >= AIM:
            break
        wide = min(structure.partitions, math.ceil(1.5 * wide))
    return replace(structure, recall_at_10=round(reached, 4), measured_rows=rows, wide_probes=wide)


async def _recall(table: lancedb.AsyncTable, structure: Structure, queries: Vectors, exact: Vectors) -> float:
    at_once = asyncio.Semaphore(_AT_ONCE)
    wanted = exact.shape[1]

    async def cosines(query: Any) -> list[float]:
        async with at_once:
            found = (
                await nearest(table, query, structure, wanted).select(["_distance"]).limit(wanted).to_arrow()
            )
        return cosines_of(found)

    return recall(exact, await asyncio.gather(*(cosines(query) for query in queries)))


async def _sample(table: lancedb.AsyncTable, settings: Settings, rows: int) -> Vectors:
    """float32 [N, dim]: vectors of rows from everywhere in the table."""
    total = await table.count_rows()
    random = np.random.default_rng(0)
    offsets = np.sort(random.choice(total, size=min(total, max(_SAMPLE, QUERIES)), replace=False))
    found = await table.take_offsets(offsets.tolist()).select(["vector"]).to_arrow()
    return _matrix(found.column("vector").combine_chunks().drop_null(), settings.dim)


def _matrix(column: Any, dim: int) -> Vectors:
    matrix: Vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return matrix


def cosines_of(found: Any) -> list[float]:
    """LanceDB's distance of unit vectors by their dot product is 1 - cosine."""
    distances: Sequence[float] = found.column("_distance").to_pylist()
    return [1.0 - distance for distance in distances]
