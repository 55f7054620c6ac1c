"""Turns of work that nobody waits for, such as the copies for a candidate: while no caller waits for one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gateway.admission.waiting import PIECE, Waiting


class SpareTurns:
    """The turns of such work at one tower: a piece at a time, in the order in which it came (`Turns`).

    What the tower has of it takes nothing from what callers may have there, however long it stays.

    Args:
        room: how many further items the tower may have, 0 while callers wait.

    Attributes:
        at_tower: items of it that the tower has.
    """

    def __init__(self, room: Callable[[], int]) -> None:
        self._room = room
        self._requests: deque[Waiting] = deque()
        self.at_tower = 0

    def enter(self, key: str, count: int, seconds: float | None, begin: Callable[[int], None]) -> Waiting:
        """See `Turns.enter`."""
        request = Waiting(key, count, begin)
        self._requests.append(request)
        self.begin_next()
        return request

    def leave(self, request: Waiting) -> None:
        """See `Turns.leave`."""
        if request in self._requests:
            self._requests.remove(request)

    def done(self, count: int, *, embedded: bool = True) -> None:
        """See `Turns.done`."""
        self.at_tower -= count
        self.begin_next()

    def begin_next(self) -> None:
        """Begin the next piece, if there is one, the one before is done and there is room."""
        if not self._requests or self.at_tower:
            return
        request = self._requests[0]
        size = min(PIECE, self._room(), request.left)
        if size <= 0:
            return
        request.left -= size
        if not request.left:
            self._requests.popleft()
        self.at_tower += size
        request.begin(size)
