"""How the command line presents results: tables for people, values for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from babelclip.cli.console import cell, note
from babelclip.embeddings import Embeddings, Vectors

# So many values of a vector are shown to a person.
_SHOWN_VALUES = 6


def short(value: np.floating[Any]) -> float:
    """The same float32 with no more digits than it takes to read it back."""
    return float(f"{value:.9g}")


def as_json(embeddings: Embeddings) -> dict[str, Any]:
    """The document that the server itself answers a JSON request with."""
    rows = zip(embeddings.vectors, embeddings.ok, strict=True)
    return {
        "space": embeddings.space,
        "version": embeddings.version,
        "dim": embeddings.dim,
        "logit_scale": embeddings.logit_scale,
        "embeddings": [[short(value) for value in row] if ok else None for row, ok in rows],
        "errors": [
            {"index": error.index, "code": error.code, "message": error.message}
            for error in embeddings.errors
        ],
        "truncated": list(embeddings.truncated),
        "unknown": list(embeddings.unknown),
    }


def failures(names: Sequence[str], embeddings: Embeddings) -> list[dict[str, str]]:
    """The items without a vector, by the names the person gave them."""
    return [
        {"item": names[error.index], "code": error.code, "message": error.message}
        for error in embeddings.errors
    ]


def print_failures(names: Sequence[str], embeddings: Embeddings) -> bool:
    """Says on standard error which items failed, were cut or are not known; whether any failed."""
    print_flags(names, embeddings)
    for failure in failures(names, embeddings):
        note(f"{failure['item']}: {failure['code']}: {failure['message']}")
    return bool(embeddings.errors)


def print_flags(names: Sequence[str], embeddings: Embeddings) -> None:
    """Says on standard error which texts were cut, and which have letters that the model does not know."""
    for index in embeddings.truncated:
        note(f"cut to the model's token limit: {names[index]}")
    for index in embeddings.unknown:
        note(f"has letters that the model does not know, so its vector says little: {names[index]}")


def vector_table(names: Sequence[str], embeddings: Embeddings) -> Table:
    """The beginning of every vector."""
    table = Table(title=cell(f"space {embeddings.space}"), title_justify="left")
    table.add_column("item")
    table.add_column(f"vector of {embeddings.dim} values")
    for name, row, ok in zip(names, embeddings.vectors, embeddings.ok, strict=True):
        values = " ".join(f"{value:+.4f}" for value in row[:_SHOWN_VALUES])
        table.add_row(cell(name), f"{values}{' …' if embeddings.dim > _SHOWN_VALUES else ''}" if ok else "–")
    return table


def cosine_table(texts: Sequence[str], files: Sequence[str], cosines: Vectors) -> Table:
    """float32 [texts, files]: a row for each text, a column for each image."""
    table = Table("")
    for file in files:
        table.add_column(cell(file))
    for text, row in zip(texts, cosines, strict=True):
        table.add_row(cell(text), *("–" if np.isnan(cosine) else f"{cosine:.3f}" for cosine in row))
    return table
