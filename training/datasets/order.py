"""Which rows every step takes: shuffled anew each epoch, parted over ranks, a function of numbers alone."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Draw:
    """One row in one epoch; what is random about it follows from these and the seed."""

    epoch: int
    index: int


@dataclass(frozen=True)
class Order:
    """The order of `count` rows, in steps of `batch` rows on each of `world` ranks.

    A step's rows over all ranks depend on `batch` × `world` only, so a run may go on with another number of
    ranks. Within an epoch the ranks together take every row once; where the last step is not full, its rows
    are dealt out one by one and some ranks have one less, or none. `drop_last` leaves that step out.
    """

    count: int
    batch: int
    seed: int = 0
    rank: int = 0
    world: int = 1
    drop_last: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1 or not 0 <= self.rank < self.world:
            raise ValueError(
                f"batch must be at least 1 and rank below world, "
                f"not batch {self.batch}, rank {self.rank}, world {self.world}"
            )
        if self.steps < 1:
            raise ValueError(f"{self.count} rows do not fill a step of {self.batch} × {self.world}")

    @property
    def steps(self) -> int:
        """Steps in an epoch, the same on every rank."""
        together = self.batch * self.world
        return self.count // together if self.drop_last else -(-self.count // together)

    def shuffled(self, epoch: int) -> NDArray[np.int64]:
        """All rows in the epoch's order, the same on every rank: int64 [count]."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(self.count, generator=generator).numpy()

    def of_epoch(self, epoch: int, *, first: int = 0) -> Iterator[list[Draw]]:
        """What this rank draws in each step of the epoch, from step `first` on."""
        for rows in self.parted(self.shuffled(epoch), first=first):
            yield [Draw(epoch, int(row)) for row in rows]

    def parted(self, rows: NDArray[np.int64], *, first: int = 0) -> Iterator[NDArray[np.int64]]:
        """This rank's part of an epoch's rows in each step from `first` on: int64 [at most batch], views."""
        together = self.batch * self.world
        for start in range(first * together, self.steps * together, together):
            yield rows[start : start + together][self.rank :: self.world]


def chance(seed: int, draw: Draw, purpose: str) -> random.Random:
    """Randomness of one draw, for one purpose: the same on every machine and in every Python."""
    return random.Random(f"{seed} {draw.epoch} {draw.index} {purpose}")
