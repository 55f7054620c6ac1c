"""What is asked of an index: terms with weights, their sum as one vector, and the hits that answer it.

    terms = parse_query('beach -people -"parked cars"')
    vector = compose(vectors_of(terms), [term.weight for term in terms])
    found = page(lambda offset, top: index.search(…, top=top, offset=offset, columns=COLUMNS)[0], top=20)

Nothing here asks a server or an index: `babelclip.Searcher` does, and so do programs that have their own way
to vectors.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from babelclip.embeddings import Vectors
from babelclip.errors import BabelclipError
from babelclip.index.base import DETAILS, Hit, Row
from babelclip.search.diversity import FOLDED_BY, NEAR, Near, fold
from babelclip.search.relevance import MatchCurve

MINUS = 0.5
"""How much a term counts that a text subtracts: as much as the rest would leave little of the rest."""

MAX_TERMS = 64
BLOCK = 200
"""Places of a ranking among which near-duplicates are looked for."""

COLUMNS = (*DETAILS, *(name for name in FOLDED_BY if name not in DETAILS))
"""All details of a row, and what `page` needs to fold near-duplicates."""

_VANISHED = 1e-4  # of the sum of the weights' sizes: what is left is the rounding of float32
_MINUS = "[-\u2212\uff0d]"  # the hyphen, the minus sign, and the full-width one of Japanese keyboards
_QUOTES = (('"', '"'), ("“", "”"), ("„", "“"), ("«", "»"), ("「", "」"))
_PHRASES = "|".join(f"{begin}([^{begin}{end}]+){end}" for begin, end in _QUOTES)
_WORD = rf"(?!{_MINUS}|[{''.join(begin for begin, _ in _QUOTES)}])(\S+)"
_SUBTRACTED = re.compile(rf"(?<!\S){_MINUS}(?:{_PHRASES}|{_WORD})(?!\S)")


class InvalidQuery(BabelclipError, ValueError):
    """A query that cannot be searched for; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """One thing that is searched for: one of `text`, `image` and `like`.

    Attributes:
        text: in any language.
        image: an encoded image, or the path of one.
        like: the id of a row of the index, whose vector is taken.
        weight: how much it counts; what a negative one names is avoided.

    Raises:
        InvalidQuery: none of the three is given or more than one, the text is empty, or the weight is 0 or
            not finite.
    """

    text: str | None = None
    image: bytes | str | os.PathLike[str] | None = None
    like: str | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        if sum(one is not None for one in (self.text, self.image, self.like)) != 1:
            raise InvalidQuery("a term is a text, an image or the id of a row: exactly one of them")
        if self.text is not None and not self.text.strip():
            raise InvalidQuery("a term's text is empty")
        if not math.isfinite(self.weight) or self.weight == 0:
            raise InvalidQuery(
                f"a term's weight must be a number other than 0, negative for what is to be avoided, not"
                f" {self.weight}"
            )


def parse_query(text: str) -> list[Term]:
    """A text as people type it → what is wanted, if anything, and each thing that is not.

    `-word` and `-"several words"` are avoided, where the dash begins a word; every other dash, as of
    `well-known` or `Tokyo - Kyoto`, is part of the text. All that is wanted is one term, the text as it was
    written without what was taken out.

    Raises:
        InvalidQuery: it is empty, or avoids more than MAX_TERMS things.
    """
    avoided: list[str] = []

    def take(found: re.Match[str]) -> str:
        phrase = " ".join(next(group for group in found.groups() if group is not None).split())
        if not phrase:
            return found[0]
        avoided.append(phrase)
        return " "

    wanted = " ".join(_SUBTRACTED.sub(take, text).split())
    if len(avoided) >= MAX_TERMS:
        raise InvalidQuery(f"the query avoids {len(avoided)} things; at most {MAX_TERMS - 1} are allowed")
    terms = [Term(text=wanted)] if wanted else []
    terms += [Term(text=phrase, weight=-MINUS) for phrase in avoided]
    if not terms:
        raise InvalidQuery("the query is empty: name what to search for")
    return terms


def weighted_sum(vectors: ArrayLike, weights: Sequence[float]) -> Vectors:
    """Vectors [T, D], each made one of length 1, and T weights → their sum, float32 [D], as long as it is.

    Raises:
        InvalidQuery: there are none, or as good as nothing is left of them.
        ValueError: there are not as many weights as vectors.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    if rows.ndim != 2 or len(rows) != len(weights):
        raise ValueError(
            f"there must be a weight for each row of [T, D], not {len(weights)} for {rows.shape}"
        )
    if not len(rows):
        raise InvalidQuery("the query is empty: name what to search for")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.all()):
        raise ValueError("a vector of the query is all zeros, or not finite")
    total = np.asarray(weights, dtype=np.float64) @ (rows / lengths)
    if np.linalg.norm(total) <= _VANISHED * np.abs(weights).sum():
        raise InvalidQuery("the terms of the query cancel each other out: what is added is subtracted again")
    summed: Vectors = total.astype(np.float32)
    return summed


def compose(vectors: ArrayLike, weights: Sequence[float]) -> Vectors:
    """The weighted sum of unit vectors, of length 1 again: float32 [D].

    A negative weight moves the query away, as Rocchio's relevance feedback does (Manning et al.,
    Introduction to Information Retrieval, section 9.1.1).

    Args:
        vectors: [T, D], which need not have length 1.
        weights: T of them.

    Raises:
        InvalidQuery, ValueError: as `weighted_sum`.
    """
    total = weighted_sum(vectors, weights)
    unit: Vectors = total / np.linalg.norm(total)
    return unit


@dataclass(frozen=True, eq=False)
class SearchHit:
    """One place of the results.

    Attributes:
        row: what was found.
        cosine: with the query.
        probability: that it fits, among as many rows as there are; None without a calibration.
        duplicates: ids of the rows that look the same and took no place of their own, best first.
        position: its place in the whole ranking, from 0, where near-duplicates have places of their own.
    """

    row: Row
    cosine: float
    probability: float | None = None
    duplicates: tuple[str, ...] = ()
    position: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """What was found, best first.

    Attributes:
        hits: at most as many as were asked for; none where nothing fits.
        threshold: the least cosine of what fits; None where neither the caller nor a calibration says one.
        fits: whether anything in the whole ranking reaches the threshold; without one, whether there is
            anything.
        next_offset: the `offset` of the hits after these; None where these are the last.
        space, version: of the index, as it was searched.
        truncated, unknown: texts of the query that were cut to the model's token limit, and those with
            letters that the model does not know.
    """

    hits: tuple[SearchHit, ...]
    threshold: float | None
    fits: bool
    next_offset: int | None
    space: str = ""
    version: str = ""
    truncated: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def select(
    hits: Sequence[Hit],
    *,
    threshold: float | None = None,
    curve: MatchCurve | None = None,
    diverse: bool = True,
    near: Near = NEAR,
    exclude: Collection[str] = (),
    position: int = 0,
) -> list[SearchHit]:
    """Part of a ranking, best first → its places: those that fit, near-duplicates folded into the best.

    Args:
        hits: with the columns `COLUMNS`, where `diverse`.
        threshold: the least cosine of a hit.
        curve: what a cosine with this query means.
        exclude: ids of rows that take no place, such as the one that others are to be like.
        position: of the first of `hits` in the whole ranking.
    """
    places = [
        SearchHit(hit.row, hit.cosine, position=position + index)
        for index, hit in enumerate(hits)
        if hit.row.id not in exclude and (threshold is None or hit.cosine >= threshold)
    ]
    groups = fold([place.row for place in places], near) if diverse else [[n] for n in range(len(places))]
    probabilities = curve.probability([place.cosine for place in places]).tolist() if curve else None
    return [
        replace(
            places[best],
            probability=probabilities[best] if probabilities else None,
            duplicates=tuple(places[other].row.id for other in others),
        )
        for best, *others in groups
    ]


def page(
    fetch: Callable[[int, int], Sequence[Hit]],
    *,
    top: int = 10,
    offset: int = 0,
    threshold: float | None = None,
    cut: bool = True,
    curve: MatchCurve | None = None,
    diverse: bool = True,
    near: Near = NEAR,
    exclude: Collection[str] = (),
) -> Results:
    """`top` places of a ranking from `offset` on.

    The ranking is taken in blocks of BLOCK places, whichever page is asked for, and near-duplicates
    are folded within their block. So pages that follow each other by `next_offset` show every row that fits
    exactly once, as a hit or in the `duplicates` of one, whatever their sizes; and a page costs the same
    however far down it is. Only after the end of a block may a near-duplicate take a place of its own again.
    `offset` counts places of the ranking before near-duplicates are folded.

    Args:
        fetch: (offset, top) → hits of the ranking, as `Index.search` gives them.
        threshold, curve, diverse, near, exclude: as in `select`.
        cut: leave out what does not reach the threshold; else it is only told, and the hits beyond it are
            there, too.

    Raises:
        InvalidQuery: top is less than 1 or offset less than 0.
    """
    if top < 1 or offset < 0:
        raise InvalidQuery(f"top must be at least 1 and offset at least 0, not {top} and {offset}")
    floor = threshold if cut else None
    found: list[SearchHit] = []
    start = offset - offset % BLOCK
    while True:
        block = fetch(start, BLOCK)
        places = select(
            block,
            threshold=floor,
            curve=curve,
            diverse=diverse,
            near=near,
            exclude=exclude,
            position=start,
        )
        found += [place for place in places if place.position >= offset]
        start += BLOCK
        below = floor is not None and bool(block) and block[-1].cosine < floor
        if len(block) < BLOCK or below or len(found) > top:
            break
    shown, following = found[:top], found[top:]
    best = shown[:1]
    if offset and (not best or (threshold is not None and best[0].cosine < threshold)):
        best = select(fetch(0, 1 + len(exclude)), diverse=False, exclude=exclude)[:1]
    return Results(
        hits=tuple(shown),
        threshold=threshold,
        fits=bool(best) and (threshold is None or best[0].cosine >= threshold),
        next_offset=following[0].position if following else None,
    )
