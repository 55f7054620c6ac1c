"""Durations, rates and shares of a command line, each with its unit: a bare number could mean anything.

Each function is a `type=` for argparse, and raises `argparse.ArgumentTypeError`, which says what is allowed.
"""

import argparse
import re
from collections.abc import Callable

_NUMBER = r"([0-9]{1,12}(?:\.[0-9]{1,12})?(?:e[0-9]{1,2})?)"
_SECONDS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_PER_SECOND = {"s": 1.0, "min": 1 / 60, "h": 1 / 3600, "day": 1 / 86400}


def duration(text: str) -> float:
    """`200ms`, `0.2s`, `5min`, `1h` → seconds, more than 0."""
    found = re.fullmatch(_NUMBER + " ?(ms|s|min|h)", text)
    if found is None or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write 200ms, 0.2s, 5min or 1h")
    return float(found[1]) * _SECONDS[found[2]]


def rate(text: str) -> float:
    """`500/s`, `30000/min`, `2e6/day` → requests a second, more than 0."""
    found = re.fullmatch(_NUMBER + " ?/ ?(s|min|h|day)", text)
    if found is None or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no rate: write 500/s, 30000/min, 1e6/h or 2e6/day")
    return float(found[1]) * _PER_SECOND[found[2]]


def share(text: str) -> float:
    """`0.1%` → 0.001; from 0% to less than 100%."""
    found = re.fullmatch(_NUMBER + " ?%", text)
    if found is None or float(found[1]) >= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: write 0.1%, from 0% to less than 100%")
    return float(found[1]) / 100


def amount(text: str) -> float:
    """`0.04` → 0.04: an amount of money in whatever currency, or of cores; at least 0."""
    if re.fullmatch(_NUMBER, text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount: write a number such as 0.04")
    return float(text)


def whole(least: int) -> Callable[[str], int]:
    """A whole number of at least `least`."""

    def number(text: str) -> int:
        if re.fullmatch("[0-9]{1,9}", text) is None or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed: write a whole number from {least}")
        return int(text)

    return number
