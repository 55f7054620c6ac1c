"""Ranges in the names of shards: `shard-{000..002}.tar` is three of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
MOST = 1_000_000


def numbered(place: str) -> Iterator[str]:
    """The names that a path or an address with ranges stands for, in order.

    Numbers have as many digits as the first of their range.

    Raises:
        ValueError: a range runs backwards, or has more than a million names.
    """
    match = _RANGE.search(place)
    if match is None:
        yield place
        return
    first, last, width = int(match[1]), int(match[2]), len(match[1])
    if not 0 <= last - first < MOST:
        raise ValueError(f"{match[0]} is no range of at most {MOST:,}")
    for number in range(first, last + 1):
        yield from numbered(f"{place[: match.start()]}{number:0{width}d}{place[match.end() :]}")
