"""Grouping by length: nothing is lost, nothing is padded without need."""

from __future__ import annotations

import pytest
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
    plan = list(plan_lengths(lengths, BUCKETS, rows_of=lambda _: max_batch, pass_cost=pass_cost))
    assert sorted(position for _, chosen in plan for position in chosen) == list(range(len(lengths)))
    for padded, chosen in plan:
        assert 1 <= len(chosen) <= max_batch
        longest = max(lengths[position] for position in chosen)
        assert padded == next(size for size in BUCKETS if size >= longest)


@given(lengths=st.lists(st.integers(1, 32), max_size=60), tokens=st.integers(32, 400))
def test_passes_keep_to_their_tokens(lengths: list[int], tokens: int) -> None:
    """Where a pass may have so many tokens, long texts have fewer rows and short ones more."""
    plan = list(plan_lengths(lengths, BUCKETS, rows_of=lambda length: tokens // length, pass_cost=10))
    assert sorted(position for _, chosen in plan for position in chosen) == list(range(len(lengths)))
    assert all(padded * len(chosen) <= tokens for padded, chosen in plan)


def cost(plan: list[tuple[int, list[int]]], pass_cost: float) -> float:
    """What the planner minimises: padded tokens, and so many for each pass."""
    return sum(padded * len(chosen) + pass_cost for padded, chosen in plan)


@given(lengths=st.lists(st.integers(1, 32), min_size=1, max_size=12), pass_cost=st.floats(0, 100))
def test_no_division_is_cheaper(lengths: list[int], pass_cost: float) -> None:
    """Of all ways to cut the sorted items into runs, the planner takes one that costs least."""
    ordered = sorted(next(size for size in BUCKETS if size >= length) for length in lengths)
    cheapest = [0.0]
    for end in range(1, len(ordered) + 1):
        runs = [cheapest[begin] + (end - begin) * ordered[end - 1] + pass_cost for begin in range(end)]
        cheapest.append(min(runs))
    plan = list(plan_lengths(lengths, BUCKETS, rows_of=lambda _: 1000, pass_cost=pass_cost))
    assert cost(plan, pass_cost) == pytest.approx(cheapest[-1])


def test_few_short_texts_ride_along_many_do_not() -> None:
    """One short text joins the long ones; a crowd of short texts is not padded to their length."""
    few = list(plan_lengths([3, 30, 30], BUCKETS, rows_of=lambda _: 32, pass_cost=64))
    many = list(plan_lengths([3] * 20 + [30], BUCKETS, rows_of=lambda _: 32, pass_cost=64))
    assert few == [(32, [0, 1, 2])]
    assert sorted((padded, len(chosen)) for padded, chosen in many) == [(4, 20), (32, 1)]
