"""Whether a generation of an index may take the place of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from babelclip.embeddings import Embeddings, Vectors
from babelclip.index import Index, Row
from babelclip.search.folder import Skipped

if TYPE_CHECKING:
    from babelclip.client.sync import Client

GOLDEN = 64
"""Rows that are asked for."""
_TOP = 10
_LOOKED_UP = 1000


@dataclass(frozen=True)
class Proof:
    """What was found.

    Attributes:
        old_rows, rows: of the old and the new generation, also those without a vector.
        missing: rows that have a vector in the old one alone.
        queries: golden queries: thumbnails of rows, embedded by the new model.
        recall: the share of them whose row, or one of the same bytes, is among the first ten; None without
            queries.
        agreement: the mean share that the ten nearest of a row have in common in both generations; it tells
            how much the answers change, and is no mark.
    """

    old_rows: int
    rows: int
    missing: tuple[Skipped, ...]
    queries: int
    recall: float | None
    agreement: float | None


def prove(old: Index, new: Index, client: Client) -> Proof:
    """Compare both generations: counts, rows that lost their vectors, golden queries.

    Raises:
        BabelclipError: the golden queries got no answer.
    """
    golden = _golden(new)
    recall = _recall(new, client, golden) if golden else None
    return Proof(
        old_rows=old.count(),
        rows=new.count(),
        missing=tuple(_missing(old, new)),
        queries=len(golden),
        recall=recall,
        agreement=_agreement(old, new, [row.id for row in golden]),
    )


def _missing(old: Index, new: Index) -> list[Skipped]:
    failed = {
        row.id: Skipped(row.source, row.error_code, row.error_message)
        for rows in new.scan(
            where={"error_code": {"$ne": ""}}, columns=("source", "error_code", "error_message")
        )
        for row in rows
    }
    missing = []
    ids = sorted(failed)
    for start in range(0, len(ids), _LOOKED_UP):
        for row in old.get(ids[start : start + _LOOKED_UP], columns=("error_code",)):
            if row is not None and not row.error_code:
                missing.append(failed[row.id])
    return sorted(missing, key=lambda skip: skip.path)


def _golden(new: Index) -> list[Row]:
    """Rows with a vector and a thumbnail, the same in every run; ids are as good as drawn by lot."""
    ids = sorted(row.id for rows in new.scan(where={"error_code": ""}, columns=()) for row in rows)
    columns = ("checksum", "thumbnail", "vector")
    found = new.get(ids[: 2 * GOLDEN], columns=columns)
    return [row for row in found if row is not None and row.thumbnail][:GOLDEN]


def _recall(new: Index, client: Client, golden: list[Row]) -> float:
    queries = client.embed_images([row.thumbnail for row in golden], errors="return")
    hits = new.search(queries[queries.ok], top=_TOP, columns=("checksum",))
    asked = [row for row, ok in zip(golden, queries.ok, strict=True) if ok]
    found = 0
    for row, answers in zip(asked, hits, strict=True):
        found += any(
            hit.row.id == row.id or (row.checksum and hit.row.checksum == row.checksum) for hit in answers
        )
    return found / len(golden)


def _agreement(old: Index, new: Index, ids: list[str]) -> float | None:
    neighbours = []
    for generation in (old, new):
        rows = generation.get(ids, columns=("vector",))
        with_vector = {row.id: row.vector for row in rows if row is not None and row.vector is not None}
        neighbours.append(_neighbours(generation, with_vector))
    shares = [
        len(neighbours[0][id_] & neighbours[1][id_]) / max(len(neighbours[1][id_]), 1)
        for id_ in ids
        if id_ in neighbours[0] and neighbours[1].get(id_)
    ]
    return float(np.mean(shares)) if shares else None


def _neighbours(generation: Index, vectors: dict[str, Vectors]) -> dict[str, set[str]]:
    """The ids of the ten nearest rows of each, without the row itself."""
    if not vectors:
        return {}
    stacked = np.stack(list(vectors.values()))
    queries = Embeddings(stacked, generation.settings.space, 1.0)
    hits = generation.search(queries, top=_TOP + 1, columns=())
    return {id_: {hit.row.id for hit in answers} - {id_} for id_, answers in zip(vectors, hits, strict=True)}
