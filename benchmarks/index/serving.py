"""The process that holds an index and is asked; it reads what to do as JSON.

In a process of its own its memory is that of the index, and it opens what another one built.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from babelclip.embeddings import Embeddings
from babelclip.index import Index, open_index
from benchmarks.index.measure import Timed, resident_mb, searches_per_second, timed
from benchmarks.index.rows import SPACE, row


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Figures of an index, and of each kind of search what it found."""
    queries = np.load(task["queries"])
    before = resident_mb()
    begun = time.perf_counter()
    with open_index(task["address"]) as index:
        asker(index)(queries[0])
        reopened = time.perf_counter() - begun
        plain = timed(asker(index), queries)
        filtered = timed(asker(index, where={"kept": 0}), queries)
        exact = timed(asker(index, exact=True), queries[: task["exact_queries"]])
        rate = searches_per_second(asker(index), queries, task["callers"], task["seconds"])
        during = while_adding(index, queries, task["added"])
        info = index.info()
        return {
            "reopen_s": reopened,
            "memory_mb": resident_mb(task["server"] or "self"),
            "memory_before_mb": before,
            "searches_per_s": rate,
            "method": info.method,
            "measured_recall": info.recall_at_10,
            "parameters": dict(info.parameters),
            "plain": as_json(plain),
            "filtered": as_json(filtered),
            "exact": as_json(exact),
            "while_adding": as_json(during),
        }


def asker(index: Index, **how: Any) -> Callable[[Any], list[int]]:
    """A search for 10 rows with all their details, whose numbers it gives."""

    def search(query: Any) -> list[int]:
        (hits,) = index.search(Embeddings(query[None], SPACE, 1.0), top=10, **how)
        return [hit.row.metadata["number"] for hit in hits]

    return search


def while_adding(index: Index, queries: Any, pieces: int) -> Timed:
    """Queries while another thread adds rows, a hundred at a time."""
    random = np.random.default_rng(1)
    dim = queries.shape[1]

    def add() -> None:
        for piece in range(pieces):
            vectors = random.normal(size=(100, dim)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            numbers = [-1 - piece * 100 - n for n in range(100)]
            index.upsert([row(n, vector) for n, vector in zip(numbers, vectors, strict=True)], space=SPACE)

    adding = threading.Thread(target=add)
    adding.start()
    found = timed(asker(index), queries)
    adding.join()
    return found


def as_json(found: Timed) -> dict[str, Any]:
    return {"found": found.found, "seconds": found.seconds, "processor": found.processor}


if __name__ == "__main__":
    print(json.dumps(measure(json.load(sys.stdin))))
