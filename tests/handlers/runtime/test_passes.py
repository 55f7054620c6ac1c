"""Passes of texts: nothing is lost, nothing is padded without need, only allowed shapes occur."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.runtime.passes import plan_passes
from handlers.runtime.shapes import few_lengths, few_rows

LENGTHS = (4, 8, 16, 32)
Plan = list[tuple[int, list[int]]]


def planned(lengths: Sequence[int], rows: Sequence[int], pass_cost: float) -> Plan:
    """The passes of texts of these token counts, where a pass may have so many rows."""
    return list(plan_passes(lengths, LENGTHS, rows_of=lambda _: rows, pass_cost=pass_cost))


def any_count(most: int) -> range:
    return range(1, most + 1)


row_choices = st.sets(st.integers(1, 40), min_size=1).map(sorted)


@given(lengths=st.lists(st.integers(1, 32), max_size=80), rows=row_choices, pass_cost=st.integers(0, 300))
def test_every_item_has_one_place(lengths: list[int], rows: list[int], pass_cost: int) -> None:
    """Each item is in one pass that is long enough for it, no larger than allowed, and no longer than due."""
    plan = planned(lengths, rows, pass_cost)
    assert sorted(position for _, chosen in plan for position in chosen) == list(range(len(lengths)))
    for padded, chosen in plan:
        assert 1 <= len(chosen) <= rows[-1]
        longest = max(lengths[position] for position in chosen)
        assert padded == next(size for size in LENGTHS if size >= longest)


@given(lengths=st.lists(st.integers(1, 32), max_size=60), tokens=st.integers(32, 400))
def test_passes_keep_to_their_tokens(lengths: list[int], tokens: int) -> None:
    """Where a pass may have so many tokens, long texts have fewer rows and short ones more."""
    plan = list(
        plan_passes(lengths, LENGTHS, rows_of=lambda length: any_count(tokens // length), pass_cost=10)
    )
    assert sorted(position for _, chosen in plan for position in chosen) == list(range(len(lengths)))
    assert all(padded * len(chosen) <= tokens for padded, chosen in plan)


def cost(plan: Plan, rows: Sequence[int], pass_cost: float) -> float:
    """What the planner minimises: padded tokens, and so many for each pass."""
    return sum(length * rows[bisect_left(rows, len(chosen))] + pass_cost for length, chosen in plan)


@given(
    lengths=st.lists(st.integers(1, 32), min_size=1, max_size=12),
    rows=st.sets(st.integers(1, 11)).map(lambda some: sorted({*some, 12})),
    pass_cost=st.floats(0, 100),
)
def test_no_division_is_cheaper(lengths: list[int], rows: list[int], pass_cost: float) -> None:
    """Of all ways to cut the sorted items into passes of allowed shapes, the planner takes a cheapest one."""
    ordered = sorted(next(size for size in LENGTHS if size >= length) for length in lengths)
    cheapest = [0.0]
    for end in range(1, len(ordered) + 1):
        ways = []
        for begin in range(end):
            computed = rows[bisect_left(rows, end - begin)]
            ways.append(cheapest[begin] + computed * ordered[end - 1] + pass_cost)
        cheapest.append(min(ways))
    plan = planned(lengths, rows, pass_cost)
    assert cost(plan, rows, pass_cost) == pytest.approx(cheapest[-1])


def test_few_short_texts_ride_along_many_do_not() -> None:
    """One short text joins the long ones; a crowd of short texts is not padded to their length."""
    few = planned([3, 30, 30], any_count(32), 64)
    many = planned([3] * 20 + [30], any_count(32), 64)
    assert few == [(32, [0, 1, 2])]
    assert sorted((padded, len(chosen)) for padded, chosen in many) == [(4, 20), (32, 1)]


def test_rows_between_two_sizes_are_split_or_padded_by_what_a_pass_costs() -> None:
    """Twenty rows are a pass of sixteen and one of four where passes are cheap, else one of thirty-two."""
    rows = (1, 2, 4, 8, 16, 32)
    assert [len(chosen) for _, chosen in planned([8] * 20, rows, 5)] == [16, 4]
    assert [len(chosen) for _, chosen in planned([8] * 20, rows, 500)] == [20]


@pytest.mark.parametrize(("longest", "shapes"), [(32, 88), (64, 120), (77, 128), (512, 216)])
def test_few_shapes_are_few_and_close(longest: int, shapes: int) -> None:
    """Where memory grows with each shape there are about a hundred, and little of a pass is padding."""
    lengths, rows = few_lengths(4, longest), few_rows(32)
    assert len(lengths) * len(rows) == shapes
    assert lengths[-1] == longest
    for size in range(9, longest + 1):
        assert lengths[bisect_left(lengths, size)] <= size * 1.25
    assert [rows[bisect_left(rows, count)] for count in (1, 2, 3, 5, 7, 32)] == [1, 2, 3, 6, 8, 32]
