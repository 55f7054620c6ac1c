"""Grouping by length: nothing is lost, nothing is padded without need."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from handlers.batching import plan_lengths

BUCKETS = (4, 8, 16, 32)


@given(
    lengths=st.lists(st.integers(1, 32), max_size=80),
    max_batch=st.integers(1, 40),
    pass_cost=st.integers(0, 300),
)
def test_every_item_has_one_place(lengths: list[int], max_batch: int, pass_cost: int) -> None:
    """Each item is in one pass that is long enough for it, no larger than allowed, and no longer than due."""
    plan = list(plan_lengths(lengths, BUCKETS, max_batch=max_batch, pass_cost=pass_cost))
    assert sorted(position for _, chosen in plan for position in chosen) == list(range(len(lengths)))
    for padded, chosen in plan:
        assert 1 <= len(chosen) <= max_batch
        longest = max(lengths[position] for position in chosen)
        assert padded == next(size for size in BUCKETS if size >= longest)


@given(lengths=st.lists(st.integers(1, 32), min_size=1, max_size=80), pass_cost=st.integers(1, 300))
def test_padding_is_worth_less_than_a_pass(lengths: list[int], pass_cost: int) -> None:
    """Merging lengths saves more passes than it costs: each bucket's border adds less padding than a pass."""
    merged = list(plan_lengths(lengths, BUCKETS, max_batch=1000, pass_cost=pass_cost))
    apart = list(plan_lengths(lengths, BUCKETS, max_batch=1000, pass_cost=0))
    slots = [sum(padded * len(chosen) for padded, chosen in plan) for plan in (merged, apart)]
    saved = sum(1 for size in BUCKETS if size >= min(lengths)) - len(merged)
    assert slots[0] - slots[1] <= saved * pass_cost


def test_few_short_texts_ride_along_many_do_not() -> None:
    """One short text joins the long ones; a crowd of short texts is not padded to their length."""
    few = list(plan_lengths([3, 30, 30], BUCKETS, max_batch=32, pass_cost=64))
    many = list(plan_lengths([3] * 20 + [30], BUCKETS, max_batch=32, pass_cost=64))
    assert few == [(32, [0, 1, 2])]
    assert [(padded, len(chosen)) for padded, chosen in many] == [(4, 20), (32, 1)]
