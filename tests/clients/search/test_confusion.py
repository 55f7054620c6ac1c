"""How well a classification agrees with what is known."""

from __future__ import annotations

from babelclip.search.confusion import confusion


def test_shares_are_of_rows_and_columns() -> None:
    """Precision is of what was given a label, recall of what has it, and none of them is a class, too."""
    pairs = [("cat", "cat"), ("cat", "dog"), ("cat", None), ("dog", "dog"), ("fish", None), ("", "dog")]
    found = confusion(["cat", "dog", "horse"], pairs)
    assert found.counts.tolist() == [[1, 1, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1]]
    assert (found.precision("cat"), found.recall("cat")) == (1.0, 1 / 3)
    assert (found.precision("dog"), found.recall("dog")) == (1 / 3, 1.0)
    assert (found.precision("horse"), found.recall("horse")) == (None, None)
    assert found.accuracy == 0.5
    assert confusion(["cat"], []).accuracy is None
