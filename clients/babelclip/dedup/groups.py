"""What a search for duplicates gives: groups, in each the best image and what can go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from babelclip.errors import BabelclipError
from babelclip.index import Row

KINDS = ("exact", "near", "semantic")
"""Why two images are taken for duplicates, the surest first.

exact: their bytes are the same, by their checksums.
near: they are the same picture: of another size, format or colours, cut off a little, or mirrored. Perceptual
    hashes and vectors say which could be; their thumbnails decide.
semantic: they show the same, by their vectors alone: two photographs of a scene, two drawings of a thing.
"""


class DedupCancelled(BabelclipError):
    """The search was cancelled by who asked for it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """From where on two images are duplicates. The defaults are measured: see docs/dedup.md.

    Attributes:
        agreement: of two thumbnails at least: the correlation of their grey values, laid on each other as
            well as they can be. For `near`.
        difference: of two thumbnails at most, in that sixteenth of them in which they differ most: the
            squared differences there, when all squared values are 1. For `near`.
        hash_distance: bits of the perceptual hashes at most in which images differ whose thumbnails are
            compared.
        neighbours: so many nearest by their vectors have their thumbnails compared, too.
        neighbour_cosine: those of a lower cosine have not.
        bits_without_thumbnails: of the perceptual hashes at most, where a row has no thumbnail and the hashes
            alone decide.
        cosine: of two vectors at least. For `semantic`; what fits depends on the model.
    """

    agreement: float = 0.95
    difference: float = 0.015
    hash_distance: int = 10
    neighbours: int = 10
    neighbour_cosine: float = 0.6
    bits_without_thumbnails: int = 4
    cosine: float = 0.97

    def __post_init__(self) -> None:
        ranges = {
            "agreement": (self.agreement, 0.5, 1.0),
            "difference": (self.difference, 0.0, 1.0),
            "hash_distance": (self.hash_distance, 0, 11),
            "neighbours": (self.neighbours, 1, 100),
            "neighbour_cosine": (self.neighbour_cosine, -1.0, 1.0),
            "bits_without_thumbnails": (self.bits_without_thumbnails, 0, self.hash_distance),
            "cosine": (self.cosine, 0.5, 1.0),
        }
        for name, (value, low, high) in ranges.items():
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low} to {high}, not {value}")


@dataclass(frozen=True, kw_only=True)
class Match:
    """How two images go together: `kind` is the surest that applies; a figure is None where it is not known.

    Attributes:
        kind: one of KINDS.
        mirrored: one of them is the mirror image of the other.
        agreement: of their thumbnails, -1 to 1.
        hash_distance: bits in which their perceptual hashes differ, or one's and the other's mirror image's.
        cosine: of their vectors.
    """

    kind: str
    mirrored: bool = False
    agreement: float | None = None
    hash_distance: int | None = None
    cosine: float | None = None


@dataclass(frozen=True)
class Duplicate:
    """A row, and how it matches the best of its group; `split` is the set it belongs to, where there are."""

    row: Row
    match: Match
    split: str = ""


@dataclass(frozen=True)
class Group:
    """Rows that are one image. Each of `duplicates` matches `best` itself, not only by way of others.

    Attributes:
        best: of most pixels; of those the one of most bytes, then the oldest, then the first by its source.
            Between splits, the one in the split that was named last.
        split: of `best`.
    """

    best: Row
    duplicates: tuple[Duplicate, ...]
    split: str = ""

    @property
    def kind(self) -> str:
        """The least sure of its matches."""
        return max((one.match.kind for one in self.duplicates), key=KINDS.index)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that its rows belong to, sorted."""
        return tuple(sorted({self.split, *(one.split for one in self.duplicates)} - {""}))


@dataclass(frozen=True, kw_only=True)
class DuplicateGroups:
    """What was found.

    Attributes:
        groups: the largest first.
        rows: that were compared.
        without_thumbnail: those among them whose `near` duplicates could be told by their hashes alone.
        kinds, limits, splits: what was asked for.
        space: of the vectors.
    """

    groups: Sequence[Group]
    rows: int
    without_thumbnail: int = 0
    kinds: tuple[str, ...] = KINDS
    limits: Limits = field(default_factory=Limits)
    splits: tuple[str, ...] = ()
    space: str = ""

    @property
    def duplicates(self) -> int:
        """Rows that could go: all but the best of each group."""
        return sum(len(group.duplicates) for group in self.groups)

    @property
    def leaks(self) -> list[Group]:
        """Groups with rows of more than one split."""
        return [group for group in self.groups if len(group.splits) > 1]

    def leaked_rows(self) -> Mapping[tuple[str, str], int]:
        """For each two splits, in their order: how many rows of the first have a duplicate in the second."""
        counts = {(one, other): 0 for one in self.splits for other in self.splits if one != other}
        for group in self.groups:
            members = [group.split, *(one.split for one in group.duplicates)]
            for one in members:
                for other in group.splits:
                    if (one, other) in counts:
                        counts[one, other] += 1
        return counts


def pixels_first(rows: Iterable[Row]) -> list[Row]:
    """The best first: most pixels, then most bytes, then the oldest, then by source."""
    return sorted(rows, key=rank)


def rank(row: Row) -> tuple[Any, ...]:
    """What `pixels_first` sorts by: the best is the least."""
    taken = float("inf") if row.taken is None else row.taken
    return -row.width * row.height, -row.size, taken, row.source, row.id
