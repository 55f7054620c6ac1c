"""Which rows look the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from babelclip.index import Row
from babelclip.search.diversity import Near, fold


def row(name: str, angle: float | None = None, **details: Any) -> Row:
    """A row whose vector points in a direction in the plane, in degrees."""
    vector = None
    if angle is not None:
        vector = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))], np.float32)
    return Row(id=name, source=name, vector=vector, **details)


def test_a_series_does_not_become_one() -> None:
    """Rows join by what they have in common with the best of a group, not with the last to join."""
    rows = [row(str(angle), angle) for angle in (0, 10, 20, 30)]
    assert fold(rows, Near(cosine=float(np.cos(np.radians(11))), bits=None)) == [[0, 1], [2, 3]]


def test_hashes_are_believed_unless_vectors_contradict() -> None:
    """Equal perceptual hashes fold rows without a vector or with alike ones, and plain areas do not."""
    same: dict[str, Any] = {"perceptual_hash": "00000000000000ff"}
    assert fold([row("a", **same), row("b", perceptual_hash="000000000000f0ff")]) == [[0, 1]]
    assert fold([row("a", **same), row("b", perceptual_hash="00000000000fffff")]) == [[0], [1]]
    assert fold([row("a", 0, **same), row("b", 20, **same), row("c", 90, **same)]) == [[0, 1], [2]]


def test_the_same_bytes_are_the_same() -> None:
    """Equal checksums fold rows; rows of which nothing is known do not."""
    assert fold([row("a", 0, checksum="f0"), row("b", 90, checksum="f0"), row("c"), row("d")]) == [
        [0, 1],
        [2],
        [3],
    ]
    assert fold([]) == []


@pytest.mark.parametrize("limits", [{"cosine": 0.0}, {"cosine": 1.1}, {"bits": -1}, {"bits": 65}])
def test_limits_that_make_no_sense_are_refused(limits: dict[str, Any]) -> None:
    """A limit that would fold everything, or that nothing reaches, is an error."""
    with pytest.raises(ValueError, match="must be"):
        Near(**limits)
