"""Moments that fit a query, as ranges of a film.

    with open_index("films.index") as index:
        for found in find_moments(index, client, "bonfire on a beach"):
            print(found.source, found.begin, found.end, found.cosine)

A range begins at the moment that fits best and takes in its neighbours as long as they fit nearly as well,
measured from what fits badly. So it needs no threshold, which would be another one for every model.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from babelclip.embeddings import Embeddings
from babelclip.index import DETAILS, Hit, Index, Row, row_id
from babelclip.index.filters import Filter
from babelclip.search.calibration import Calibration
from babelclip.similarity import similarity
from babelclip.video.decoding import Decoding, open_video
from babelclip.video.indexing import KIND, NOTES
from babelclip.video.moments import Merging, Moment, embed_moments
from babelclip.video.sampling import Sampling

if TYPE_CHECKING:
    from babelclip.client.sync import Client

BACKGROUND = 0.1  # the quantile of cosines that counts as what fits badly
HEIGHT = 0.7  # of a range's best cosine above the background, which its other moments reach
GAP = 0.05  # seconds between two moments that still are neighbours
DEPTH = 200  # moments of an index that are looked at for a query


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundMoment:
    """A range of a film that fits a query.

    Attributes:
        source: the film.
        begin, end: seconds from its beginning.
        best: when the frame is shown that fits best.
        cosine: of the moment that fits best.
        probability: that it is a match at all; None without a calibration.
        row: of the moment that fits best.
    """

    source: str
    begin: float
    end: float
    best: float
    cosine: float
    probability: float | None
    row: Row


def find_moments(
    index: Index,
    client: Client,
    query: str | Embeddings,
    *,
    source: str | None = None,
    where: Filter | None = None,
    top: int = 10,
    threshold: float | None = None,
    calibration: Calibration | None = None,
    depth: int = DEPTH,
) -> list[FoundMoment]:
    """The ranges of an index's films that fit a query, the best first.

    Args:
        query: a text in any language, or the embedding of one text or image.
        source: the one film to look in, as its rows call it.
        where: a filter of the moments that are looked at.
        top: ranges.
        threshold: the least cosine of a range's best moment.
        calibration: gives ranges their probability of being a match.
        depth: moments that are looked at; ranges are made of these.

    Raises:
        SpaceMismatch: the model is not the index's.
        InvalidFilter: the filter is not valid.
        BabelclipError: the query got no vector.
    """
    asked = client.embed_texts([query]) if isinstance(query, str) else query
    if len(asked) != 1:
        raise ValueError(f"the query must be one text or image, not {len(asked)}")
    wanted: list[Filter] = [{"kind": KIND}]
    wanted += [{"source": source}] if source is not None else []
    wanted += [where] if where is not None else []
    columns = tuple(name for name in DETAILS if name not in ("perceptual_hash", "checksum"))
    (hits,) = index.search(asked, top=max(top, depth), where={"$and": wanted}, columns=columns)
    return merge_hits(hits, top=top, threshold=threshold, calibration=calibration)


def search_video(
    client: Client,
    path: str | os.PathLike[str],
    queries: Sequence[str] | Embeddings,
    *,
    top: int = 10,
    threshold: float | None = None,
    calibration: Calibration | None = None,
    sampling: Sampling | None = None,
    merging: Merging | None = None,
    decoding: Decoding | None = None,
) -> list[list[FoundMoment]]:
    """N queries → for each the ranges of one film that fit it, without an index.

    Raises:
        VideoError: it cannot be decoded.
        BabelclipError: frames or queries got no answer.
        OSError: the file cannot be read.
    """
    asked = queries if isinstance(queries, Embeddings) else client.embed_texts(queries)
    name = os.fspath(path)
    moments: list[Moment] = []
    answer: Embeddings | None = None
    with open_video(path, decoding) as video:
        for batch in embed_moments(client, video, sampling=sampling, merging=merging):
            moments += batch.moments
            answer = batch.answer or answer
    if not moments or answer is None:
        return [[] for _ in range(len(asked))]
    vectors = np.stack([moment.vector for moment in moments])
    cosines = similarity(asked, Embeddings(vectors, answer.space, answer.logit_scale))
    rows = [
        Row(
            id=row_id(name, moment.begin),
            source=name,
            kind=KIND,
            begin=moment.begin,
            end=moment.end,
            metadata={NOTES: {"key_frame": moment.key_frame}},
        )
        for moment in moments
    ]
    return [
        merge_hits(
            [Hit(row, float(cosine)) for row, cosine in zip(rows, of_query, strict=True)],
            top=top,
            threshold=threshold,
            calibration=calibration,
        )
        for of_query in cosines
    ]


def merge_hits(
    hits: Sequence[Hit],
    *,
    top: int = 10,
    threshold: float | None = None,
    calibration: Calibration | None = None,
) -> list[FoundMoment]:
    """Moments with their cosines, of any films and in any order → ranges, the best first.

    Each moment is in one range at most; one whose cosine is not finite is in none.
    """
    if top < 1:
        raise ValueError(f"top must be at least 1, not {top}")
    whole = [hit for hit in hits if np.isfinite(hit.cosine) and hit.row.begin is not None]
    if not whole:
        return []
    background = float(np.quantile([hit.cosine for hit in whole], BACKGROUND))
    order = sorted(whole, key=lambda hit: (hit.row.source, hit.row.begin))
    taken = [False] * len(order)
    found: list[FoundMoment] = []
    for peak in sorted(range(len(order)), key=lambda at: -order[at].cosine):
        cosine = order[peak].cosine
        if len(found) == top or (threshold is not None and cosine < threshold):
            break
        if taken[peak]:
            continue
        least = background + HEIGHT * (cosine - background)
        first = last = peak
        fits = [not gone and hit.cosine >= least for gone, hit in zip(taken, order, strict=True)]
        while first > 0 and fits[first - 1] and _adjoin(order[first - 1], order[first]):
            first -= 1
        while last + 1 < len(order) and fits[last + 1] and _adjoin(order[last], order[last + 1]):
            last += 1
        taken[first : last + 1] = [True] * (last + 1 - first)
        found.append(_range(order, first, peak, last, len(whole), calibration))
    return found


def _adjoin(earlier: Hit, later: Hit) -> bool:
    one, other = earlier.row, later.row
    return one.source == other.source and (other.begin or 0.0) - (one.end or 0.0) <= GAP


def _range(
    order: Sequence[Hit], first: int, peak: int, last: int, candidates: int, calibration: Calibration | None
) -> FoundMoment:
    row, cosine = order[peak].row, order[peak].cosine
    begin, end = order[first].row.begin or 0.0, order[last].row.end or 0.0
    probability = None
    if calibration is not None:
        probability = float(calibration.probability(cosine, candidates=candidates))
    best = row.metadata.get(NOTES, {}).get("key_frame", row.begin)
    return FoundMoment(
        source=row.source,
        begin=begin,
        end=end,
        best=float(best),
        cosine=cosine,
        probability=probability,
        row=row,
    )
