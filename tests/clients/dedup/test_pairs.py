"""Near hashes and near vectors, against comparing each with each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelclip.dedup import neighbours
from babelclip.dedup.hashes import MIRROR, close_pairs, distance, parse_hash
from babelclip.dedup.neighbours import nearest_pairs
from babelclip.dedup.pictures import PICTURE, agreements, lay, picture
from tests.clients.dedup.photographs import encoded
from tests.clients.dedup.photographs import picture as draw


def test_no_pair_of_near_hashes_is_missed() -> None:
    """Looking codes up by their quarters finds what comparing all finds, mirror images too, and no more."""
    random = np.random.default_rng(0)
    codes = random.integers(0, 2**64, 300, dtype=np.uint64)
    for place in range(0, 300, 3):  # Every third one is near another, or near its mirror image.
        flipped = random.choice(64, random.integers(1, 14), replace=False).astype(np.uint64)
        mask = np.bitwise_or.reduce(np.uint64(1) << flipped)
        codes[place] = codes[place + 1] ^ mask ^ (MIRROR if place % 2 else np.uint64(0))
    for limit in (0, 3, 10, 11):
        one, other = np.triu_indices(len(codes), 1)
        near = distance(codes[one], codes[other]) <= limit
        wanted = set(zip(one[near].tolist(), other[near].tolist(), strict=True))
        assert {tuple(pair) for pair in close_pairs(codes, limit).tolist()} == wanted


def test_thousands_of_equal_hashes_make_few_pairs() -> None:
    """Equal codes are connected by about two pairs each, not by each with each."""
    codes = np.zeros(5000, dtype=np.uint64)
    pairs = close_pairs(codes, 10)
    assert len(pairs) < 10_001
    reached = {0}
    for one, other in pairs.tolist():
        assert one in reached or other in reached
        reached |= {one, other}
    assert len(reached) == 5000


@given(st.text(max_size=20))
@settings(max_examples=50, deadline=None)
def test_a_hash_from_an_index_is_hexadecimal_or_none(text: str) -> None:
    """Whatever stands in the column, it is 64 bits or no hash."""
    found = parse_hash(text)
    assert found is None or 0 <= found < 2**64


def clustered(count: int, dim: int = 24) -> np.ndarray:
    """float32 [count, dim]: pairs of near vectors among others."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(count, dim))
    rows[1::2] = rows[::2] + 0.15 * random.normal(size=(count // 2, dim))
    vectors: np.ndarray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def test_a_few_vectors_are_compared_with_all() -> None:
    """Up to some thousands, the nearest are exactly the nearest, and cosines are those of the vectors."""
    vectors = clustered(400)
    told: list[int] = []
    pairs, cosines = nearest_pairs(vectors, top=3, cosine=0.9, step=told.append)
    products = vectors @ vectors.T
    one, other = np.triu_indices(400, 1)
    wanted = products[one, other] >= 0.9
    assert {tuple(p) for p in pairs.tolist()} == set(zip(one[wanted], other[wanted], strict=True))
    np.testing.assert_allclose(cosines, products[pairs[:, 0], pairs[:, 1]], atol=1e-5)
    assert sum(told) == 400


def test_cells_find_nearly_all_of_it(monkeypatch: object) -> None:
    """Where vectors are laid into cells, near ones are found from one side or the other."""
    vectors = clustered(6000)
    told: list[int] = []
    pairs, _ = nearest_pairs(vectors, top=5, cosine=0.9, step=told.append)
    found = {tuple(pair) for pair in pairs.tolist()}
    near = [n for n in range(0, 6000, 2) if vectors[n] @ vectors[n + 1] >= 0.9]
    assert len(near) > 2500
    assert sum((n, n + 1) in found for n in near) >= 0.98 * len(near)
    assert sum(told) == 6000


def test_a_cell_of_equal_vectors_is_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of equal vectors, which no centroid parts, neither fail nor are all compared at once."""
    monkeypatch.setattr(neighbours, "_LARGEST", 500)
    vectors = np.tile(clustered(2)[:1], (5000, 1))
    pairs, cosines = nearest_pairs(vectors, top=2, cosine=0.9)
    assert len(np.unique(pairs)) == len(vectors)
    assert cosines.min() > 0.999


def test_nothing_and_one_vector_have_no_pairs() -> None:
    """The ends of the range are no error."""
    for count in (0, 1):
        pairs, cosines = nearest_pairs(clustered(2)[:count], top=3, cosine=0.5)
        assert pairs.shape == (0, 2)
        assert len(cosines) == 0


def test_a_part_of_a_picture_agrees_with_it_when_laid_exactly() -> None:
    """A cut by 7 % and 11 % lies between the coarse steps; laying it exactly finds it."""
    whole = draw(5, (300, 200))
    part = picture(encoded(whole.crop((21, 0, 300, 178))))
    other = picture(encoded(draw(6)))
    coarse, how = agreements(picture(encoded(whole)), np.array([part, other], dtype=PICTURE))
    assert coarse[0] > 0.9
    assert coarse[1] < 0.7
    agreement, difference = lay(picture(encoded(whole)), part, int(how[0]))
    assert agreement > max(0.97, coarse[0] - 1e-6)
    assert difference < 0.015


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_a_thumbnail_of_any_bytes_is_a_picture_or_none(data: bytes) -> None:
    """Whatever stands in the column, nothing is raised."""
    assert not picture(data)["known"]
    picture(encoded(draw(1))[:-50] + data)
