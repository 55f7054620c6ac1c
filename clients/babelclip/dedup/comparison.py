"""Pairs of rows: which are worth comparing, and what a comparison says."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from babelclip.dedup.groups import KINDS, Limits, Match
from babelclip.dedup.hashes import Pairs, close_pairs, distance, distinct_pairs
from babelclip.dedup.neighbours import nearest_pairs
from babelclip.dedup.pictures import PICTURE, Picture, agreements, is_mirrored, lay, picture
from babelclip.dedup.table import Steps, Table
from babelclip.index import Index

_THUMBNAILS = 512  # that are asked for at once
_COSINES = 16_384  # pairs whose vectors are read at once
_GAINED = 0.06  # of agreement at most, by laying thumbnails more exactly
_EXACT, _NEAR, _SEMANTIC = range(len(KINDS))
NO_MATCH = -1


@dataclass(frozen=True, eq=False)
class Matches:
    """What P comparisons said: columns of P values.

    Attributes:
        kind: positions in KINDS, NO_MATCH where they do not match.
        agreement, cosine: NaN where not known.
        distance: of the perceptual hashes; -1 where not known.
    """

    kind: NDArray[np.int8]
    agreement: NDArray[np.float32]
    mirrored: NDArray[np.bool_]
    distance: NDArray[np.int16]
    cosine: NDArray[np.float32]

    def match(self, place: int) -> Match:
        """One of them that does match."""
        agreement, cosine = float(self.agreement[place]), float(self.cosine[place])
        return Match(
            kind=KINDS[self.kind[place]],
            mirrored=bool(self.mirrored[place]),
            agreement=None if np.isnan(agreement) else round(agreement, 4),
            hash_distance=None if self.distance[place] < 0 else int(self.distance[place]),
            cosine=None if np.isnan(cosine) else round(cosine, 4),
        )


class Comparison:
    """Compares the rows of a table by the limits. Thumbnails are read when they are first asked for.

    Args:
        folder: where the reduced thumbnails are kept meanwhile, a kilobyte each.
    """

    def __init__(
        self, index: Index, table: Table, folder: Path, *, kinds: Collection[str], limits: Limits
    ) -> None:
        self._index, self._table, self._limits = index, table, limits
        self._near, self._semantic = "near" in kinds, "semantic" in kinds
        self._path = folder / "pictures"
        self._slots = np.full(len(table), -1, dtype=np.int64)
        self._pictures: NDArray[Any] = np.empty(0, dtype=PICTURE)

    @property
    def without_thumbnail(self) -> int:
        """Rows that were compared without one."""
        return int((~self._pictures["known"]).sum())

    def candidates(self, steps: Steps) -> Pairs:
        """Pairs of rows of different bytes that could match; the time grows about with the rows."""
        table, limits = self._table, self._limits
        found = [np.empty((0, 2), dtype=np.int64)]
        firsts = np.flatnonzero(table.copy_of == np.arange(len(table)))
        if self._near:
            hashed = firsts[table.has_code[firsts]]
            found.append(hashed[close_pairs(table.codes[hashed], limits.hash_distance)])
        if table.vectors is not None and len(firsts):
            least = [limits.neighbour_cosine] * self._near + [limits.cosine] * self._semantic
            vectors = table.vectors if len(firsts) == len(table) else table.vectors[firsts]
            pairs, _ = nearest_pairs(vectors, top=limits.neighbours, cosine=min(least), step=steps.step)
            found.append(firsts[pairs])
        return distinct_pairs(np.concatenate(found), len(table))

    def compare(self, pairs: Pairs, steps: Steps | None = None) -> Matches:
        """Pairs of rows int64 [P, 2] → what is to be said of each."""
        table, limits = self._table, self._limits
        one, other = table.copy_of[pairs[:, 0]], table.copy_of[pairs[:, 1]]
        hashes = distance(table.codes[one], table.codes[other]).astype(np.int16)
        hashes[~(table.has_code[one] & table.has_code[other])] = -1
        cosine = self._cosines(one, other)
        agreement = np.full(len(pairs), np.nan, dtype=np.float32)
        mirrored = np.zeros(len(pairs), dtype=np.bool_)
        kind = np.full(len(pairs), NO_MATCH, dtype=np.int8)
        if self._semantic:
            kind[cosine >= limits.cosine] = _SEMANTIC
        if self._near:
            agreement, difference, mirrored = self._agreements(one, other, steps)
            alone = np.isnan(agreement) & (hashes >= 0) & (hashes <= limits.bits_without_thumbnails)
            agree = (agreement >= limits.agreement) & (difference <= limits.difference)
            kind[alone | agree] = _NEAR
        kind[one == other] = _EXACT
        return Matches(kind, agreement, mirrored, hashes, cosine)

    def _cosines(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float32]:
        found = np.full(len(one), np.nan, dtype=np.float32)
        if self._table.vectors is not None:
            for begin in range(0, len(one), _COSINES):
                part = slice(begin, begin + _COSINES)
                left, right = self._table.vectors[one[part]], self._table.vectors[other[part]]
                found[part] = np.einsum("ij,ij->i", left, right)
        return found

    def _agreements(
        self, one: NDArray[np.int64], other: NDArray[np.int64], steps: Steps | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """How well thumbnails agree, where they differ most, and whether they are mirrored.

        The better of laying one on the other and the reverse; NaN where a thumbnail is missing.
        """
        self._load(np.unique(np.concatenate([one, other])))
        agreement = np.full(len(one), np.nan, dtype=np.float32)
        difference = np.full(len(one), np.nan, dtype=np.float32)
        mirrored = np.zeros(len(one), dtype=np.bool_)
        if not len(self._pictures):
            return agreement, difference, mirrored
        known = self._pictures["known"]
        both = np.flatnonzero((one != other) & known[self._slots[one]] & known[self._slots[other]])
        agreement[both] = -1.0
        how = np.zeros(len(one), dtype=np.int64)
        whole_is_other = np.zeros(len(one), dtype=np.bool_)
        wholes = np.concatenate([one[both], other[both]])
        parts = np.concatenate([other[both], one[both]])
        places = np.concatenate([both, both])
        turned = np.repeat([False, True], len(both))
        order = np.argsort(wholes, kind="stable")
        wholes, parts, places, turned = wholes[order], parts[order], places[order], turned[order]
        bounds = np.flatnonzero(np.diff(wholes, prepend=-1, append=-1))
        for begin, end in pairwise(bounds.tolist()):
            found, ways = agreements(self._picture(wholes[begin]), self._picture(parts[begin:end]))
            better = found > agreement[places[begin:end]]
            chosen = places[begin:end][better]
            agreement[chosen], how[chosen] = found[better], ways[better]
            whole_is_other[chosen] = turned[begin:end][better]
            if steps is not None:
                steps.step(len(self._table) / len(bounds))
        mirrored[both] = is_mirrored(how[both])
        for place in np.flatnonzero(agreement >= self._limits.agreement - _GAINED).tolist():
            pair = (one[place], other[place])
            whole, part = pair[::-1] if whole_is_other[place] else pair
            agreement[place], difference[place] = lay(
                self._picture(whole), self._picture(part), int(how[place])
            )
        return agreement, difference, mirrored

    def _picture(self, rows: Any) -> Picture:
        found: Picture = self._pictures[self._slots[rows]]
        return found

    def _load(self, rows: NDArray[np.int64]) -> None:
        """Have the thumbnails of these rows read and reduced."""
        missing = rows[self._slots[rows] < 0]
        if not len(missing):
            return
        count = len(self._pictures)
        with self._path.open("ab") as file:
            for begin in range(0, len(missing), _THUMBNAILS):
                ids = [self._table.ids[row] for row in missing[begin : begin + _THUMBNAILS]]
                found = self._index.get(ids, columns=("thumbnail",))
                made = [picture(row.thumbnail if row is not None else b"") for row in found]
                file.write(np.array(made, dtype=PICTURE).tobytes())
        self._slots[missing] = np.arange(count, count + len(missing))
        self._pictures = np.memmap(self._path, dtype=PICTURE, mode="r")
