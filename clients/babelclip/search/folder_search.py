"""Searches of files that are in no index: all of them are embedded, and compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from babelclip.client.calls import require_answers
from babelclip.embeddings import Embeddings, Vectors
from babelclip.errors import SpaceMismatch
from babelclip.index.base import Hit, Row
from babelclip.search.answering import Threshold, answer, check_terms, check_threshold, embed_terms
from babelclip.search.folder import Skipped
from babelclip.search.query import InvalidQuery, Results, Term
from babelclip.search.relevance import SearchCalibration
from babelclip.similarity import concatenate

if TYPE_CHECKING:
    from babelclip.client.sync import Client

STEP = 32  # files that are embedded between two reports of progress


def search_files(
    client: Client,
    files: Sequence[Path],
    queries: Sequence[Sequence[Term]],
    *,
    language: str | None = None,
    calibration: SearchCalibration | None = None,
    top: int = 10,
    offset: int = 0,
    diverse: bool = False,
    threshold: Threshold = "auto",
    progress: Callable[[int], None] | None = None,
) -> tuple[list[Results], list[Skipped]]:
    """For each query what `Searcher.search` gives, of files; and the files that have no vector.

    The id and the source of a row are the path of its file.

    Args:
        language: that of the texts, as in `Client.embed_texts`.

    Raises:
        InvalidQuery: a query cannot be searched for, or names a row of an index.
        SpaceMismatch: the calibration is of another space.
        ItemErrors, BabelclipError: as in `Client.embed_texts` and `Client.embed_images`.
    """
    check_threshold(threshold)
    for terms in queries:
        check_terms(terms)
        if any(term.like is not None for term in terms):
            raise InvalidQuery("files have no ids: give the image itself")
    asked = [embed_terms(client, terms, language) for terms in queries]
    images, skipped = embed_files(client, files, progress)
    if calibration is not None and images.space and calibration.space != images.space:
        raise SpaceMismatch(
            f"the calibration is of the space {calibration.space}, the vectors are of {images.space}"
        )
    rows = [
        Row(id=str(file), source=str(file), vector=vector)
        for file, vector, ok in zip(files, images.vectors, images.ok, strict=True)
        if ok
    ]
    results = []
    for terms, query in zip(queries, asked, strict=True):
        found = answer(
            lambda vector, at, count: _ranked(rows, vector)[at : at + count],
            terms,
            np.stack([vector for vector in query.vectors if vector is not None]),
            calibration=calibration,
            candidates=len(rows),
            top=top,
            offset=offset,
            diverse=diverse,
            threshold=threshold,
        )
        results.append(
            replace(
                found,
                space=client.space or "",
                version=client.version or "",
                truncated=query.truncated,
                unknown=query.unknown,
            )
        )
    return results, skipped


def embed_files(
    client: Client, files: Sequence[Path], progress: Callable[[int], None] | None = None
) -> tuple[Embeddings, list[Skipped]]:
    """N files → their embeddings, and those that have none; `progress` is called with how many are done.

    Raises:
        BabelclipError: as in `Client.embed_images`.
    """
    parts: list[Embeddings] = []
    skipped: list[Skipped] = []
    for start in range(0, len(files), STEP):
        part = files[start : start + STEP]
        found = require_answers(client.embed_images(part, errors="return"))
        skipped += (Skipped(str(part[error.index]), error.code, error.message) for error in found.errors)
        parts.append(found)
        if progress is not None:
            progress(start + len(part))
    return concatenate(parts), skipped


def _ranked(rows: Sequence[Row], query: Vectors) -> list[Hit]:
    if not rows:
        return []
    cosines = np.stack([row.vector for row in rows if row.vector is not None]) @ query
    order = np.argsort(-cosines, kind="stable")
    return [Hit(rows[n], float(cosines[n])) for n in order]
