"""Perceptual hashes that differ in few bits, found without comparing each with each.

Multi-index hashing (Norouzi, Punjani and Fleet, Fast Exact Search in Hamming Space with Multi-Index Hashing,
2014): two codes of 64 bits that differ in at most d have a quarter of 16 bits that differs in at most d // 4.
Codes are looked up by each quarter and its few variations, so that the time grows with the codes, not with
their square.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint64]
Pairs = NDArray[np.int64]

MIRROR = np.uint64(0xAAAAAAAAAAAAAAAA)
"""The bits that change when left and right do: the signs of the waves of odd frequency across."""

_QUARTERS = 4
_BITS = 16
_AT_ONCE = 2_000_000  # pairs that are counted at a time: 50 MB
MAX_DISTANCE = 11  # a quarter's variations in more than two bits would be too many


def parse_hash(text: str) -> int | None:
    """16 hexadecimal digits → 64 bits; None where there is no hash, or it is none."""
    try:
        return int(text, 16) if len(text) == 16 else None
    except ValueError:
        return None


def distance(one: Codes, other: Codes) -> NDArray[np.uint8]:
    """Bits in which codes differ, elementwise: of the pictures, or of one and the other's mirror image."""
    bits = one ^ other
    fewest: NDArray[np.uint8] = np.minimum(np.bitwise_count(bits), np.bitwise_count(bits ^ MIRROR))
    return fewest


def close_pairs(codes: Codes, limit: int) -> Pairs:
    """All pairs of codes that differ in at most `limit` bits, also from the mirror image's code.

    Of codes that are equal only neighbours are paired, and each with the first.

    Args:
        codes: uint64 [N].
        limit: at most MAX_DISTANCE.

    Returns:
        int64 [P, 2], positions in `codes`, the smaller first; each pair once.
    """
    distinct, where = np.unique(codes, return_inverse=True)
    order = np.argsort(where, kind="stable")
    starts = np.searchsorted(where[order], np.arange(len(distinct)))
    first = order[starts]  # of each distinct code
    found = [_equal(where, order, first)]
    for mirror in (np.uint64(0), MIRROR):
        for one, other in _between(distinct, mirror, limit):
            found.append(np.stack([first[one], first[other]], axis=1))
    return distinct_pairs(np.concatenate(found), len(codes))


def distinct_pairs(pairs: Pairs, count: int) -> Pairs:
    """The same pairs of `count` items, each once and the smaller first; none of an item with itself."""
    low, high = pairs.min(axis=1), pairs.max(axis=1)
    keys = np.unique((low * count + high)[low < high])
    return np.stack([keys // max(count, 1), keys % max(count, 1)], axis=1)


def _equal(where: NDArray[np.int64], order: Pairs, first: Pairs) -> Pairs:
    same = np.flatnonzero(where[order][1:] == where[order][:-1])
    chained = np.stack([order[same], order[same + 1]], axis=1)
    star = np.stack([first[where[order[same + 1]]], order[same + 1]], axis=1)
    return np.concatenate([chained, star])


def _between(codes: Codes, mirror: np.uint64, limit: int) -> Iterator[tuple[Pairs, Pairs]]:
    """Positions of distinct codes of which one, and the other or its mirror image, differ in few bits."""
    for quarter in range(_QUARTERS):
        shift = np.uint64(quarter * _BITS)
        keys = ((codes >> shift) & np.uint64(0xFFFF)).astype(np.int64)
        asked = (((codes ^ mirror) >> shift) & np.uint64(0xFFFF)).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        bounds = np.searchsorted(keys[order], np.arange((1 << _BITS) + 1))
        for mask in _variations(limit // _QUARTERS):
            wanted = asked ^ mask
            counts = bounds[wanted + 1] - bounds[wanted]
            for begin, end in _chunks(counts):
                one = np.repeat(np.arange(begin, end), counts[begin:end])
                offsets = np.arange(len(one)) - np.repeat(
                    np.cumsum(counts[begin:end]) - counts[begin:end], counts[begin:end]
                )
                other = order[np.repeat(bounds[wanted[begin:end]], counts[begin:end]) + offsets]
                near = (one < other) & (np.bitwise_count(codes[one] ^ codes[other] ^ mirror) <= limit)
                yield one[near], other[near]


def _variations(bits: int) -> list[int]:
    return [
        sum(1 << place for place in places)
        for count in range(bits + 1)
        for places in combinations(range(_BITS), count)
    ]


def _chunks(counts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Stretches of about _AT_ONCE pairs."""
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(counts):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _AT_ONCE, side="right")))
        yield begin, end
        begin = end
