"""The tasks of test_processes.py: `python -m tests.clients.index.processes TASK ADDRESS ARGUMENT`."""

from __future__ import annotations

import contextlib
import sys
import time

import numpy as np

from babelclip.embeddings import Embeddings, Vectors
from babelclip.index import IndexBusy, Row, Settings, open_index

DIM = 4
SETTINGS = Settings(space="s", dim=DIM)
PIECE = 10
DONE = "done"


def vector(number: int) -> Vectors:
    row = np.random.default_rng(number).normal(size=DIM).astype(np.float32)
    unit: Vectors = row / np.linalg.norm(row)
    return unit


def add(address: str, name: str, pieces: int) -> None:
    """Rows of its own and, in each piece, the same ones as every other process; then a row that says so."""
    with open_index(address) as index:
        for piece in range(pieces):
            names = [f"{name}-{piece}-{n}" for n in range(PIECE)] + [
                f"shared-{piece}-{n}" for n in range(PIECE)
            ]
            rows = [Row(id=one, source=one, vector=vector(n)) for n, one in enumerate(names)]
            index.upsert(rows, space="s")
            assert index.delete([f"{name}-{piece}-0"]) == 1
        index.upsert([Row(id=f"{DONE}-{name}", source=DONE, error_code=DONE)], space="s")


def compact(address: str, writers: int) -> None:
    """Compact until all writers are done, and once more."""
    with open_index(address) as index:
        finished = False
        while not finished:
            finished = index.count({"error_code": DONE}) == writers
            with contextlib.suppress(IndexBusy):
                index.compact()
            time.sleep(0.2)  # the writers need the processor, too


def search(address: str, writers: int) -> None:
    """Search until all writers are done: every answer is whole and in order."""
    query = Embeddings(vector(3)[None], "s", 1.0)
    with open_index(address) as index:
        while index.count({"error_code": DONE}) < writers:
            (hits,) = index.search(query, top=5)
            cosines = [hit.cosine for hit in hits]
            assert cosines == sorted(cosines, reverse=True)
            assert all(hit.row.source != DONE for hit in hits)


if __name__ == "__main__":
    task, where, argument = sys.argv[1:]
    if task == "add":
        name, _, pieces = argument.partition(":")
        add(where, name, int(pieces))
    else:
        {"compact": compact, "search": search}[task](where, int(argument))
