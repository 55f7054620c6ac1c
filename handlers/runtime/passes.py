"""How texts of different lengths share forward passes: the cheapest division, in the allowed shapes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence


def plan_passes(
    lengths: Sequence[int],
    sizes: Sequence[int],
    *,
    rows_of: Callable[[int], Sequence[int]],
    pass_cost: float,
) -> Iterator[tuple[int, list[int]]]:
    """Token counts → (padded length, positions) of each forward pass; every position occurs exactly once.

    A pass computes a rectangle of padded tokens, and costs `pass_cost` tokens more whatever its size. The
    items, sorted by length, are divided into the passes that together cost least.

    `sizes` are the lengths that may be padded to, and `rows_of(length)` the rows that a pass may have, both
    ascending; the last size holds the longest item. Rows of a pass beyond its items are padding, which costs
    as much as items.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    padded = [sizes[bisect_left(sizes, lengths[position])] for position in order]
    # best[n]: the cost of the first n items; taken[n]: how many of them are in the last of their passes.
    best, taken = [0.0], [0]
    costs: list[tuple[int, float]] = []
    for end, length in enumerate(padded, start=1):
        if end == 1 or length != padded[end - 2]:
            costs = [(rows, rows * length + pass_cost) for rows in rows_of(length)]
        cheapest, items = float("inf"), 0
        for rows, cost in costs:
            if rows >= end:
                # One pass holds them all, and larger ones would only pad more.
                if cost <= cheapest:
                    cheapest, items = cost, end
                break
            cost += best[end - rows]
            if cost <= cheapest:
                cheapest, items = cost, rows
        best.append(cheapest)
        taken.append(items)
    end = len(order)
    while end:
        yield padded[end - 1], order[end - taken[end] : end]
        end -= taken[end]
