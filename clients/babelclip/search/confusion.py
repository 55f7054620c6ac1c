"""How well a classification agrees with what is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often which label was given to what is which.

    Attributes:
        labels: L of them.
        counts: int64 [L + 1, L + 1]: a row for each true label, a column for each that was given; the last
            of both is no label.
    """

    labels: tuple[str, ...]
    counts: NDArray[np.int64]

    def precision(self, label: str) -> float | None:
        """Of those that were given the label, the share whose label it is; None where there are none."""
        at = self.labels.index(label)
        return _share(self.counts[at, at], self.counts[:, at].sum())

    def recall(self, label: str) -> float | None:
        """Of those whose label it is, the share that were given it; None where there are none."""
        at = self.labels.index(label)
        return _share(self.counts[at, at], self.counts[at].sum())

    @property
    def accuracy(self) -> float | None:
        """The share of all that have their own label, or none where none of the labels is theirs."""
        return _share(np.trace(self.counts), self.counts.sum())


def confusion(labels: Sequence[str], pairs: Iterable[tuple[str | None, str | None]]) -> Confusion:
    """(true, given) labels → the table; a true label that is none of `labels` counts as none of them."""
    places: dict[str | None, int] = {label: n for n, label in enumerate(labels)}
    counts = np.zeros((len(labels) + 1, len(labels) + 1), dtype=np.int64)
    for true, given in pairs:
        counts[places.get(true, len(labels)), places.get(given, len(labels))] += 1
    return Confusion(tuple(labels), counts)


def _share(part: int | np.int64, whole: int | np.int64) -> float | None:
    return float(part / whole) if whole else None
