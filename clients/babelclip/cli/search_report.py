"""How the command line presents what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from babelclip.cli.console import cell, note, print_json, print_table
from babelclip.cli.report import short
from babelclip.search.query import Results, SearchHit

Labelled = Sequence[tuple[str, Results]]


def print_tables(found: Labelled) -> None:
    """A table for each query; one line where nothing fits, or for where to go on."""
    for query, results in found:
        _print_flags(results)
        if results.threshold is not None and not (results.fits or results.hits):
            note(f"nothing fits {query!r}: nothing reaches the cosine {results.threshold:.3f}")
        if results.hits:
            print_table(_table(query, results))
        if results.next_offset is not None:
            note(f"more: --offset {results.next_offset}")


def print_results(found: Labelled, skipped: Sequence[dict[str, str]], *, rows: bool) -> None:
    """One JSON document; of `rows` of an index, or of the files of a folder."""
    queries = []
    for query, results in found:
        _print_flags(results)
        queries.append(
            {
                "query": query,
                "threshold": results.threshold,
                "fits": results.fits,
                "next_offset": results.next_offset,
                "results": [_row(hit) if rows else _file(hit) for hit in results.hits],
            }
        )
    print_json({"space": found[0][1].space, "queries": queries, "skipped": list(skipped)})


def _file(hit: SearchHit) -> dict[str, Any]:
    return {
        "path": hit.row.source,
        "cosine": short(np.float32(hit.cosine)),
        "match": hit.probability,
        "duplicates": list(hit.duplicates),
    }


def _row(hit: SearchHit) -> dict[str, Any]:
    row = hit.row
    details = {name: getattr(row, name) for name in ("kind", "begin", "end", "caption", "width", "height")}
    return {
        "id": row.id,
        "source": row.source,
        **details,
        "taken": row.taken,
        "metadata": dict(row.metadata),
        **{name: value for name, value in _file(hit).items() if name != "path"},
    }


def _table(query: str, results: Results) -> Table:
    matches = any(hit.probability is not None for hit in results.hits)
    folded = any(hit.duplicates for hit in results.hits)
    columns = ["", "cosine", *(["match"] if matches else []), "image", *(["alike"] if folded else [])]
    table = Table(*columns, title=cell(query), title_justify="left")
    for rank, hit in enumerate(results.hits, 1):
        cells = [str(rank), f"{hit.cosine:.3f}"]
        if matches:
            cells.append("–" if hit.probability is None else f"{hit.probability:.2f}")
        name = hit.row.source
        if hit.row.begin is not None:
            name += f" {hit.row.begin:.1f} s"
        alike = [f"+{len(hit.duplicates)}" if hit.duplicates else ""] if folded else []
        table.add_row(*cells, cell(name), *alike)
    return table


def _print_flags(results: Results) -> None:
    for text in results.truncated:
        note(f"cut to the model's token limit: {text}")
    for text in results.unknown:
        note(f"has letters that the model does not know, so its vector says little: {text}")
