"""A tower whose passes take as long as a test says, on a clock that the test moves."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.handlers.worker import Worker


class Clock:
    """Seconds that pass only when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """A runner whose passes take `seconds`, or so many for each row; it notes how many rows each had."""

    def __init__(self, worker: Worker, clock: Clock, seconds: float, *, a_row: bool = False) -> None:
        self._run, self._clock, self.seconds, self._a_row = worker.handler.runner, clock, seconds, a_row
        self.placement, self.padded_rows = self._run.placement, self._run.padded_rows
        self.group_rows = self._run.group_rows
        self.passes: list[int] = []

    def __call__(self, *arrays: Any) -> np.ndarray:
        rows = len(arrays[0])
        self._clock.now += self.seconds * (rows if self._a_row else 1)
        self.passes.append(rows)
        return self._run(*arrays)
