"""A greedy key, alone and beside a modest one, both calling at random: a simulation, without waiting."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
from collections.abc import Callable
from functools import partial

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
        greedy, modest: requests a second of two keys.
        trip: seconds from the queue to the tower, and back.

    Attributes:
        latencies: of the modest key, in seconds.
        embedded: items of both keys.
    """

    def __init__(self, seed: int, greedy: float, modest: float = MODEST, trip: float = 0.0) -> None:
        self.now = 0.0
        self.queue = TowerQueue(64, clock=lambda: self.now)
        self.latencies: list[float] = []
        self.embedded = 0
        self._trip = trip
        self._given: list[tuple[str, float]] = []
        self._busy = False
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        chance = random.Random(seed)
        for key, rate in (("modest", modest), ("greedy", greedy)):
            at = 0.0
            while rate and (at := at + chance.expovariate(rate)) < SECONDS:
                self._at(at, partial(self._arrive, key))

    def run(self) -> None:
        """To the last answer."""
        while self._events:
            self.now, _, happens = heapq.heappop(self._events)
            happens()
            if self._given and not self._busy:
                batch, self._given, self._busy = self._given, [], True
                self._at(self.now + batch_seconds(len(batch)), partial(self._end, batch))

    def _at(self, when: float, happens: Callable[[], object]) -> None:
        heapq.heappush(self._events, (when, next(self._order), happens))

    def _after_the_trip(self, happens: Callable[[], object]) -> None:
        if self._trip:
            self._at(self.now + self._trip, happens)
        else:
            happens()

    def _arrive(self, key: str) -> None:
        item = key, self.now

        def begin(size: int) -> None:
            self._after_the_trip(partial(self._given.append, item))

        if self.queue.pass_at_once(key, 1):
            begin(1)
        else:
            with contextlib.suppress(ApiError):  # It would wait too long.
                self.queue.enter(key, 1, None, begin)

    def _end(self, batch: list[tuple[str, float]]) -> None:
        self._busy = False
        self._after_the_trip(partial(self._answered, batch))

    def _answered(self, batch: list[tuple[str, float]]) -> None:
        for key, since in batch:
            if since > WARM_UP:
                self.embedded += 1
                if key == "modest":
                    self.latencies.append(self.now - since)
            self.queue.done(1)


def p99(seed: int, greedy: float) -> float:
    """The 99th percentile of the modest key's latencies, in seconds."""
    made = Simulation(seed, greedy)
    made.run()
    return float(np.percentile(made.latencies, 99))


@pytest.mark.parametrize("seed", range(12))
def test_a_modest_key_hardly_feels_a_greedy_one(seed: int) -> None:
    """Its p99 beside a key that asks for three times the capacity is at most a third more than alone."""
    assert p99(seed, greedy=40.0) <= 1.33 * p99(seed, greedy=0.0)


@pytest.mark.parametrize("seed", range(4))
def test_one_key_alone_has_the_whole_tower(seed: int) -> None:
    """What the tower is given at a time neither shrinks with the rate that it has, nor leaves it idle."""
    made = Simulation(seed, greedy=40.0, modest=0.0, trip=0.01)
    made.run()
    whole = 64 / batch_seconds(64)
    assert made.embedded / (SECONDS - WARM_UP) >= 0.93 * whole
