"""An index of a million vectors: `python -m benchmarks.index`.

Rows of 512 values in clusters are added through `babelclip.index`, and compacted. Then another process opens
the index and asks queries that lie off the clusters: one caller and several, with a filter that keeps one row
in a hundred, and while rows are added. Hits come with all their details. FAISS IVF and exact search are
measured beside it.

`--engine milvus` asks a Milvus instead: the one of `--address`, or of the package `milvus`, which is started.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from babelclip.index import create_index
from benchmarks.index.beside import Exact, faiss_ivf
from benchmarks.index.measure import Timed
from benchmarks.index.milvus_server import milvus_server, missing
from benchmarks.index.rows import EVERY, SPACE, row, settings
from benchmarks.index.vectors import Source
from benchmarks.support import options, report
from benchmarks.support.towers import REPOSITORY


def main() -> None:
    parser = options.make_parser("index", __doc__)
    parser.add_argument("--engine", choices=("lancedb", "milvus"), default="lancedb")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--callers", type=int, default=8, help="that ask at once")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the load by several callers")
    parser.add_argument("--piece", type=int, default=10_000, help="rows of one commit")
    parser.add_argument("--address", help="of the index, which must not exist; a temporary one unless given")
    parser.add_argument("--no-faiss", action="store_true", help="leave out FAISS")
    given = options.parse(
        parser,
        {"rows": 12_000, "dim": 64, "queries": 20, "seconds": 0.5, "piece": 4000},
    )
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="babelclip-index-")))
        address, pid = given.address or str(folder / "index"), None
        if given.engine == "milvus" and not given.address:
            if reason := missing():
                parser.error(f"give the --address of a Milvus: {reason}")
            server = held.enter_context(milvus_server(folder / "milvus"))
            address, pid = f"{server.address}/benchmark", server.pid
        measure(given, folder, address, pid)


def measure(given: Any, folder: Path, address: str, pid: int | None) -> None:
    """Fill an index, ask it in another process, and report.

    Args:
        pid: of the server that holds it; None where the process that asks does, or the server is elsewhere.
    """
    source = Source(given.rows, given.dim)
    queries = source.queries(given.queries)
    exact = Exact(queries, 10, EVERY)
    filled = fill(source, address, given.piece, exact)
    np.save(folder / "queries.npy", queries)
    task = {
        "address": address,
        "server": pid,
        "queries": str(folder / "queries.npy"),
        "callers": given.callers,
        "seconds": given.seconds,
        "exact_queries": min(given.queries, 20),
        "added": 10,
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.index.serving"],
        input=json.dumps(task),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        cwd=REPOSITORY,
    )
    served = json.loads(done.stdout.splitlines()[-1])
    searches = {name: Timed(**served.pop(name)) for name in ("plain", "filtered", "exact", "while_adding")}
    plain, filtered = searches["plain"].figures(), searches["filtered"].figures()
    result = {
        "rows": given.rows,
        "recall_at_10": searches["plain"].recall(exact.nearest),
        "p50_ms": plain["p50_ms"],
        "p99_ms": plain["p99_ms"],
        "processor_ms": plain["processor_ms"],
        "filter_p50_ms": filtered["p50_ms"],
        "filter_recall_at_10": searches["filtered"].recall(exact.nearest_kept),
        "adding_p50_ms": searches["while_adding"].figures()["p50_ms"],
        "exact_p50_ms": searches["exact"].figures()["p50_ms"],
        **{name: served[name] for name in ("searches_per_s", "reopen_s", "memory_mb")},
        **filled,
    }
    beside = {"exact, in numpy": {"processor_ms": exact.seconds / given.queries * 1e3, "recall_at_10": 1.0}}
    if not given.no_faiss:
        beside["FAISS IVF"] = faiss_ivf(source, given.piece, queries, exact.nearest)
    show(result, served, {name: found.figures() for name, found in searches.items()}, beside)


def fill(source: Source, address: str, piece: int, exact: Exact) -> dict[str, float]:
    """Add all rows, and compact; making the rows and the exact answers does not count."""
    added = 0.0
    with create_index(address, settings(source.dim)) as index:
        begin = 0
        for vectors in source.pieces(piece):
            exact.add(vectors, begin)
            rows = [row(begin + n, vector) for n, vector in enumerate(vectors)]
            begun = time.perf_counter()
            index.upsert(rows, space=SPACE)
            added += time.perf_counter() - begun
            begin += len(vectors)
        begun, processor = time.perf_counter(), time.process_time()
        index.compact()
        return {
            "ingest_per_s": source.rows / added,
            "build_s": time.perf_counter() - begun,
            "build_processor_s": time.process_time() - processor,
        }


def show(
    result: dict[str, Any], served: dict[str, Any], searches: dict[str, Any], beside: dict[str, Any]
) -> None:
    columns = ("p50_ms", "p99_ms", "processor_ms")
    rows = [[name, *(found.get(column, "") for column in columns)] for name, found in searches.items()]
    rows += [[name, *(found.get(column, "") for column in columns)] for name, found in beside.items()]
    report.table(f"{result['rows']:,} rows, {served['method']} {served['parameters']}", ["", *columns], rows)
    report.finish("index", result, {"served": served, "searches": searches, "beside": beside})


if __name__ == "__main__":
    main()
