"""The shapes in which a tower is run: every row count and length, or few of them where each new shape costs.

Compiled programs and HPU pay a compilation for each, some runtimes on CPUs keep memory for each; see
`Placement.static` and `Placement.keeps_shapes`. docs/decisions/0004-lengths-of-texts.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Sequence

from handlers.runtime.device import Placement


def row_sizes(placement: Placement, max_batch: int, *, varied_lengths: bool) -> Sequence[int]:
    """The row counts that a pass may have, ascending."""
    if placement.static:
        return row_buckets(max_batch)
    # Where all items are of one length, every row count makes `max_batch` shapes, which is few.
    if placement.keeps_shapes and varied_lengths:
        return few_rows(max_batch)
    return range(1, max_batch + 1)


def row_buckets(max_batch: int) -> tuple[int, ...]:
    """Powers of two below `max_batch`, and `max_batch`."""
    powers = [1 << exponent for exponent in range(max_batch.bit_length())]
    return (*(rows for rows in powers if rows < max_batch), max_batch)


def few_rows(max_batch: int) -> tuple[int, ...]:
    """The buckets, and 3 and 6: small requests come alone, and the next power of two is a third too large."""
    return tuple(sorted({*row_buckets(max_batch), *(rows for rows in (3, 6) if rows < max_batch)}))


def few_lengths(shortest: int, longest: int) -> tuple[int, ...]:
    """Token counts in steps of 2 up to 16 and then of an eighth to a quarter, ending with `longest`."""
    lengths = [shortest]
    while lengths[-1] < longest:
        power = 1 << (lengths[-1].bit_length() - 1)  # the largest that is not above the length
        lengths.append(min(lengths[-1] + max(2, power // 4), longest))
    return tuple(lengths)
