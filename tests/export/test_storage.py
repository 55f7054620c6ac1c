"""How weights are stored in fewer bits."""

import numpy as np
import pytest

from export import storage


@pytest.mark.parametrize("at_a_time", [3, 1000])
def test_a_table_is_stored_row_by_row(at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row comes back within half a step of its own scale, one of zeros and one of large numbers, too."""
    monkeypatch.setattr(storage, "ROWS", at_a_time)
    table = np.random.default_rng(0).normal(size=(10, 8)).astype(np.float32)
    table[3] = 0
    table[4] *= 1e6
    integers, scales = storage.quantised_rows(table)
    assert integers.dtype == np.int8
    assert np.abs(integers).max(axis=1).tolist() == [127, 127, 127, 0, 127, 127, 127, 127, 127, 127]
    assert (np.abs(integers * scales - table) <= 0.5001 * scales).all()
