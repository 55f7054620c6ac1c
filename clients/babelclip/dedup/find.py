"""Duplicates among the rows of an index.

    with open_index("photographs.index") as index:
        found = find_duplicates(index)
    for group in found.groups:
        print(group.best.source, [one.row.source for one in group.duplicates])

Rows of equal checksums are copies. Of the others, perceptual hashes that differ in few bits and vectors
that are near each other say which could be duplicates; thumbnails, or vectors, decide. What matches is
joined; then the best of each set is taken and only what matches the best itself stays with it: where each
image of many resembles the next, the last never goes because of the first.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from babelclip.dedup.comparison import NO_MATCH, Comparison
from babelclip.dedup.groups import KINDS, Duplicate, DuplicateGroups, Group, Limits, Match, rank
from babelclip.dedup.hashes import Pairs
from babelclip.dedup.table import Splits, Steps, Table, images, read_table
from babelclip.index import Index, Row
from babelclip.index.filters import Filter

DEFAULT_KINDS = ("exact", "near")
_DETAILS = 1000  # rows whose details are asked for at once


def find_duplicates(
    index: Index,
    *,
    kinds: Collection[str] = DEFAULT_KINDS,
    limits: Limits | None = None,
    where: Filter | None = None,
    splits: Splits | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> DuplicateGroups:
    """Groups of images of an index that are duplicates; nothing is changed.

    The time grows about linearly with the rows. Per row it takes some hundred bytes of memory, and room for
    the vector and a kilobyte in the folder for temporary files. Moments of films are left out: those of one
    film are alike.

    Args:
        kinds: of KINDS, what counts as a duplicate. Copies always do.
        limits: from where on.
        where: only rows that this filter keeps.
        splits: tell the splits of the rows, and find duplicates between them, too.
        progress: is called with what is done and with all there is to do, often.
        cancelled: is asked often whether to stop.

    Raises:
        ValueError: a kind is none, or there is none.
        InvalidFilter: the filter is not valid.
        DedupCancelled: `cancelled` said so.
        ImportError: `near` needs Pillow.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ValueError(f"kinds of duplicates are {', '.join(KINDS)}, not {', '.join(unknown) or 'none'}")
    if "near" in kinds:
        _check_pillow()
    limits = limits or Limits()
    steps = Steps(index.count(images(where)), progress, cancelled)
    with tempfile.TemporaryDirectory(prefix="babelclip-dedup-") as folder:
        table = read_table(
            index,
            Path(folder),
            where=where,
            splits=splits,
            with_vectors="near" in kinds or "semantic" in kinds,
            steps=steps,
        )
        comparison = Comparison(index, table, Path(folder), kinds=kinds, limits=limits)
        steps.begin(1)
        pairs = comparison.candidates(steps)
        steps.begin(2)
        matching = pairs[comparison.compare(pairs, steps).kind != NO_MATCH]
        groups = list(_Groups(index, table, comparison, splits).found(matching))
        steps.begin(3)
        return DuplicateGroups(
            groups=sorted(groups, key=lambda group: (-len(group.duplicates), group.best.source)),
            rows=len(table),
            without_thumbnail=comparison.without_thumbnail,
            kinds=tuple(kind for kind in KINDS if kind in kinds),
            limits=limits,
            splits=splits.names if splits else (),
            space=index.settings.space,
        )


class _Groups:
    """Makes groups of pairs that match."""

    def __init__(self, index: Index, table: Table, comparison: Comparison, splits: Splits | None) -> None:
        self._index, self._table, self._comparison, self._splits = index, table, comparison, splits
        self._copies: dict[int, list[int]] = defaultdict(list)
        for row in np.flatnonzero(table.copy_of != np.arange(len(table))).tolist():
            self._copies[int(table.copy_of[row])].append(row)

    def found(self, matching: Pairs) -> Iterator[Group]:
        """The groups of pairs of rows, int64 [P, 2], and of copies."""
        neighbours: dict[int, list[int]] = defaultdict(list)
        for one, other in matching.tolist():
            neighbours[one].append(other)
            neighbours[other].append(one)
        sets = _connected(neighbours)
        sets += [[row] for row in self._copies if row not in neighbours]
        for several in _batches(sets, lambda members: sum(1 + len(self._copies[row]) for row in members)):
            rows = self._details([row for members in several for row in members])
            for members in several:
                yield from self._split_up(members, neighbours, rows)

    def _details(self, firsts: Sequence[int]) -> dict[int, Row]:
        """The rows and their copies, without those that are gone meanwhile."""
        wanted = [row for first in firsts for row in (first, *self._copies[first])]
        found = self._index.get([self._table.ids[row] for row in wanted])
        return {place: row for place, row in zip(wanted, found, strict=True) if row is not None}

    def _split_up(
        self, members: Sequence[int], neighbours: dict[int, list[int]], rows: dict[int, Row]
    ) -> Iterator[Group]:
        """Connected rows → groups around the best of them, the best of the rest, and so on."""
        # A row and its copies are one image; the best of them stands for all.
        alike = {
            first: sorted(
                (row for row in (first, *self._copies[first]) if row in rows),
                key=lambda row: self._rank(row, rows),
            )
            for first in members
        }
        left = sorted(
            (first for first in members if alike[first]), key=lambda first: self._rank(alike[first][0], rows)
        )
        taken: set[int] = set()
        for first in left:
            if first in taken:
                continue
            around = self._around(first, neighbours, taken)
            taken |= {first, *around}
            best = alike[first][0]
            same = Match(kind="exact")
            matches = [(row, same) for row in alike[first][1:]]
            matches += [(row, match) for other, match in around.items() for row in alike.get(other, ())]
            if matches:
                duplicates = sorted(matches, key=lambda pair: self._rank(pair[0], rows))
                yield Group(
                    rows[best],
                    tuple(Duplicate(rows[row], match, self._name(row)) for row, match in duplicates),
                    self._name(best),
                )

    def _around(self, first: int, neighbours: dict[int, list[int]], taken: set[int]) -> dict[int, Match]:
        """What matches a row itself, looked for along the pairs; what does not match leads no further."""
        found: dict[int, Match] = {}
        asked = {first}
        frontier = [first]
        while frontier:
            near = {row for one in frontier for row in neighbours[one]} - asked - taken
            asked |= near
            others = sorted(near)
            if not others:
                break
            pairs = np.array([(first, other) for other in others], dtype=np.int64)
            matches = self._comparison.compare(pairs)
            frontier = [other for other, kind in zip(others, matches.kind, strict=True) if kind != NO_MATCH]
            kept = set(frontier)
            found |= {o: matches.match(place) for place, o in enumerate(others) if o in kept}
        return found

    def _rank(self, row: int, rows: dict[int, Row]) -> tuple[object, ...]:
        return (-int(self._table.splits[row]), *rank(rows[row]))

    def _name(self, row: int) -> str:
        return self._splits.names[self._table.splits[row]] if self._splits else ""


def _connected(neighbours: dict[int, list[int]]) -> list[list[int]]:
    """The sets of rows that pairs connect."""
    seen: set[int] = set()
    sets = []
    for start in sorted(neighbours):
        if start in seen:
            continue
        seen.add(start)
        members = [start]
        for row in members:
            new = [other for other in neighbours[row] if other not in seen]
            seen.update(new)
            members += new
        sets.append(members)
    return sets


def _batches(sets: Sequence[list[int]], size: Callable[[list[int]], int]) -> Iterator[list[list[int]]]:
    """Sets whose rows are asked for together."""
    batch: list[list[int]] = []
    count = 0
    for members in sets:
        batch.append(members)
        count += size(members)
        if count >= _DETAILS:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def _check_pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise ImportError("comparing thumbnails needs Pillow: pip install 'babelclip[search]'") from error
