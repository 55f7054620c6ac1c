"""A modest key beside a greedy one, both of which call at random: a simulation, in which no time passes."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
from typing import Any

import numpy as np
import pytest

from gateway.admission.queue import TowerQueue
from gateway.errors import ApiError

MODEST = 4.0  # requests a second
SECONDS, WARM_UP = 95.0, 10.0


def batch_seconds(items: int) -> float:
    """A tower that embeds 11 items a second one by one, and 16 in batches."""
    return 0.03 + 0.06 * items


class Simulation:
    """Requests of one item at random, before a tower that takes all that it is given as its next batch.

    Args:
        greedy: requests a second of the other key.
    """

    def __init__(self, seed: int, greedy: float) -> None:
        self.now = 0.0
        self.queue = TowerQueue(64, clock=lambda: self.now)
        self.latencies: list[float] = []
        self._given: list[tuple[str, float]] = []
        self._busy = False
        self._order = itertools.count()
        self._events: list[tuple[float, int, Any]] = []
        chance = random.Random(seed)
        for key, rate in (("modest", MODEST), ("greedy", greedy)):
            at = 0.0
            while rate and (at := at + chance.expovariate(rate)) < SECONDS:
                self._at(at, key)

    def run(self) -> float:
        """The 99th percentile of the modest key's latencies, in seconds."""
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            if isinstance(event, str):
                self._arrive(event)
            else:
                self._end(event)
            if self._given and not self._busy:
                batch, self._given, self._busy = self._given, [], True
                self._at(self.now + batch_seconds(len(batch)), batch)
        return float(np.percentile(self.latencies, 99))

    def _at(self, when: float, event: Any) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def _arrive(self, key: str) -> None:
        item = key, self.now
        if self.queue.pass_at_once(key, 1):
            self._given.append(item)
        else:
            with contextlib.suppress(ApiError):  # It would wait too long.
                self.queue.enter(key, 1, None, lambda size: self._given.append(item))

    def _end(self, batch: list[tuple[str, float]]) -> None:
        self._busy = False
        self.latencies += [self.now - since for key, since in batch if key == "modest" and since > WARM_UP]
        for _ in batch:
            self.queue.done(1)


@pytest.mark.parametrize("seed", range(12))
def test_a_modest_key_hardly_feels_a_greedy_one(seed: int) -> None:
    """Its p99 beside a key that asks for three times the capacity is at most a third more than alone."""
    assert Simulation(seed, greedy=40.0).run() <= 1.33 * Simulation(seed, greedy=0.0).run()
