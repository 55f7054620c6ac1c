"""What waits for its turn at a tower, and what there is to wait at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

PIECE = 32
"""Items of a request that are passed on together; a batch of the handlers."""


class Waiting:
    """A request of `count` items that waits for its turns.

    Args:
        begin: called with the number of items of each piece when it is its turn.
    """

    def __init__(self, key: str, count: int, begin: Callable[[int], None]) -> None:
        self.key = key
        self.left = count
        self.begin = begin


class Turns(Protocol):
    """Where requests have their turns, one way or another."""

    def enter(self, key: str, count: int, seconds: float | None, begin: Callable[[int], None]) -> Waiting:
        """Wait for the turns of a request; the first may come before this returns.

        Args:
            seconds: that the caller waits for all of it; None for as long as it takes.
            begin: as `Waiting` has it. Whoever it begins something for calls `done` at its end.
        """

    def leave(self, request: Waiting) -> None:
        """A request gives up what it still waits for; it may wait for nothing any more."""

    def done(self, count: int, *, embedded: bool = True) -> None:
        """Items are at the tower no more, with their vectors or without."""
