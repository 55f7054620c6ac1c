"""Items of many requests → forward passes of like shape, and one item's failure kept to itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.errors import INTERNAL, ItemError
from handlers.incidents import log_incident

Array = NDArray[Any]
Row = NDArray[np.float32] | ItemError


@dataclass(frozen=True)
class Group:
    """Items that go through the tower together."""

    positions: list[int]
    """Where each row's item stands in the flat list of the batch."""
    arrays: tuple[Array, ...]
    """The tower's inputs; the first dimension of each is the items', in the order of `positions`."""
    used: int
    """Slots (tokens, or images) that hold content."""
    slots: int
    """Slots in all rows together, padding of the lengths included."""
    bucket: int
    """Its name in the metrics: the declared length that holds its texts, or the number of its images."""


@dataclass
class PreprocessResult:
    """What preprocessing finds out about items, by their position in the flat list."""

    failed: dict[int, ItemError] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    """Of texts: how many tokens they have, before any cut."""
    cut: set[int] = field(default_factory=set)
    """Items that were cut to be embedded."""
    unknown: set[int] = field(default_factory=set)
    """Texts with letters that the tokenizer does not know."""
    decode_cpu_seconds: float = 0.0
    """CPU time that the pool's threads spent on images, whether or not a pass ran meanwhile."""


def smallest_first(requests: Iterable[slice]) -> list[int]:
    """The positions of each request's items → all of them, those of requests with few items first.

    So a large request does not keep small ones of its batch from being embedded when the time runs out.
    """
    ordered = sorted(requests, key=lambda items: items.stop - items.start)
    return [position for items in ordered for position in range(items.start, items.stop)]


def part_of(group: Group, start: int, stop: int) -> Group:
    """The rows of a group from `start` to `stop`; the group itself where these are all."""
    rows = len(group.positions)
    if stop - start == rows:
        return group
    return Group(
        positions=group.positions[start:stop],
        arrays=tuple(array[start:stop] for array in group.arrays),
        used=group.used * stop // rows - group.used * start // rows,  # about; the parts together have all
        slots=group.slots // rows * (stop - start),
        bucket=group.bucket,
    )


def forward(group: Group, run: Callable[..., NDArray[np.float32]], *, dim: int) -> list[Row]:
    """One pass over a group → a vector, float32 [dim], or an error for each of its items.

    If the pass fails, every item has a pass of its own, so that only the one at fault fails.
    """
    try:
        return _rows(run(*group.arrays), len(group.positions), dim)
    except Exception as error:
        if len(group.positions) == 1:
            return [ItemError(INTERNAL, log_incident("forward", error))]
    singles = (_single(group, index) for index in range(len(group.positions)))
    return [row for single in singles for row in forward(single, run, dim=dim)]


def _single(group: Group, index: int) -> Group:
    arrays = tuple(array[index : index + 1] for array in group.arrays)
    return Group(positions=[group.positions[index]], arrays=arrays, used=0, slots=0, bucket=0)


def _rows(vectors: NDArray[np.float32], count: int, dim: int) -> list[Row]:
    if vectors.shape != (count, dim):
        raise RuntimeError(f"the tower gave an array {vectors.shape}, and not ({count}, {dim})")
    finite = [bool(np.isfinite(vector).all()) for vector in vectors]
    return [vector if sound else _not_finite() for vector, sound in zip(vectors, finite, strict=True)]


def _not_finite() -> ItemError:
    error = RuntimeError("the tower gave a vector that is not finite")
    return ItemError(INTERNAL, log_incident("forward", error))
