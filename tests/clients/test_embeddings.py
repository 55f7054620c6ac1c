"""The result type and the one comparison of vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip import Embeddings, ItemError, SpaceMismatch, similarity


def embeddings(count: int, *, space: str = "s", failed: tuple[int, ...] = (), dim: int = 4) -> Embeddings:
    """Random unit vectors with some failed rows."""
    vectors = np.random.default_rng(count).normal(size=(count, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[list(failed)] = 0.0
    errors = tuple(ItemError(index, "c", "m") for index in failed)
    return Embeddings(vectors=vectors, space=space, logit_scale=20.0, errors=errors)


def test_it_is_an_array() -> None:
    """numpy takes it wherever an array goes."""
    result = embeddings(3)
    assert len(result) == 3
    assert result.dim == 4
    assert np.asarray(result).dtype == np.float32
    assert np.asarray(result, dtype=np.float64).dtype == np.float64
    np.testing.assert_array_equal(result[1], result.vectors[1])


@given(
    count=st.integers(0, 6),
    bad=st.sets(st.integers(0, 5)),
    key=st.slices(6) | st.lists(st.integers(0, 5), max_size=6),
)
def test_a_selection_carries_its_errors_along(count: int, bad: set[int], key: slice | list[int]) -> None:
    """After slicing, every error, cut and unknown text still stands at its own item."""
    failed = tuple(sorted(index for index in bad if index < count))
    whole = embeddings(count, failed=failed)
    whole = Embeddings(whole.vectors, whole.space, whole.logit_scale, whole.errors, failed, "", failed)
    if not isinstance(key, slice):
        key = [index for index in key if index < count]
    part = whole[key]
    positions = list(range(count))[key] if isinstance(key, slice) else key
    assert [bool(ok) for ok in part.ok] == [index not in failed for index in positions]
    assert list(part.truncated) == [new for new, old in enumerate(positions) if old in failed]
    assert part.unknown == part.truncated
    np.testing.assert_array_equal(part.vectors, whole.vectors[positions])


def test_a_mask_selects_what_worked() -> None:
    """`embeddings[embeddings.ok]` is how a caller drops the failures."""
    part = embeddings(4, failed=(1,))[embeddings(4, failed=(1,)).ok]
    assert len(part) == 3
    assert part.errors == ()


def test_similarity_is_the_cosine() -> None:
    """[N, M] cosines, rows for the first argument, and 1 for an item with itself."""
    a, b = embeddings(3), embeddings(2)
    cosines = similarity(a, b)
    assert cosines.shape == (3, 2)
    assert cosines.dtype == np.float32
    np.testing.assert_allclose(cosines[2, 1], a[2] @ b[1], rtol=1e-6)
    np.testing.assert_allclose(np.diag(similarity(a, a)), 1.0, rtol=1e-6)


def test_a_failed_item_is_not_a_poor_match() -> None:
    """A missing vector gives NaN, which no ranking takes for a number."""
    cosines = similarity(embeddings(2, failed=(0,)), embeddings(2, failed=(1,)))
    assert np.isnan(cosines).tolist() == [[True, True], [False, True]]


def test_spaces_do_not_mix() -> None:
    """Vectors of two models give an error, not numbers that mean nothing."""
    with pytest.raises(SpaceMismatch, match="one and two"):
        similarity(embeddings(1, space="one"), embeddings(1, space="two"))


def test_nothing_compares_with_anything() -> None:
    """An empty result that no server has seen has no space to disagree with."""
    nothing = Embeddings(np.zeros((0, 0), np.float32), "", 1.0)
    assert similarity(embeddings(3), nothing).shape == (3, 0)
    unread = Embeddings(np.zeros((1, 0), np.float32), "", 1.0, (ItemError(0, "unreadable_file", "m"),))
    assert np.isnan(similarity(embeddings(3), unread)).all()
