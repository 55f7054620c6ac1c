"""The benchmark of an interrupted `add`, in a tiny form."""

from pathlib import Path

import pytest

from benchmarks.ingest import measure

pytestmark = pytest.mark.slow  # starts processes and kills


def test_an_interruption_costs_little(tmp_path: Path) -> None:
    """Killed at nine tenths, the next run embeds what had not been committed, and the indexes are equal."""
    result, details = measure(tmp_path, 600, "memory")
    assert result["images"] == 600
    assert 0.9 <= result["killed_at"] < 1
    assert result["equal"]
    assert result["embedded_again_share"] == round(1 - details["committed"] / 600, 4)
    assert result["embedded_again_share"] < 0.6  # Two commits are of 512 rows together.
