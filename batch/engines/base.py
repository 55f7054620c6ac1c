"""Workers as the driver sees them, whichever engine runs them: shards are handed out, events come back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from batch.shards import Counts, Shard


class EngineError(Exception):
    """The job cannot go on; the message is a sentence for people."""


@dataclass(frozen=True)
class Started:
    """A worker has loaded its tower."""

    worker: int


@dataclass(frozen=True)
class Advanced:
    """Some items of a shard are embedded; they count once its output is there."""

    worker: int
    counts: Counts


@dataclass(frozen=True)
class Finished:
    """The output of a shard is there."""

    worker: int
    shard: Shard
    counts: Counts


@dataclass(frozen=True)
class Failed:
    """A shard was not embedded.

    Attributes:
        lost: the worker is gone, too; another one takes its place.
    """

    worker: int
    shard: Shard
    reason: str
    lost: bool = False


@dataclass(frozen=True)
class Lost:
    """A worker is gone before it had loaded its tower, or without a shard."""

    worker: int
    reason: str


Event = Started | Advanced | Finished | Failed | Lost


class Workers(Protocol):
    """As many workers as were asked for; one that is lost is replaced. Use as a context."""

    @property
    def idle(self) -> Sequence[int]:
        """Those that wait for a shard. A worker has at most one."""
        ...

    @property
    def busy(self) -> Collection[int]:
        """Those that have one."""
        ...

    def submit(self, worker: int, shard: Shard) -> None:
        """Hand a shard to an idle worker."""
        ...

    def events(self) -> Sequence[Event]:
        """What has happened, in order; waits about a second where nothing has.

        Raises:
            EngineError: no worker can go on.
        """
        ...

    def __enter__(self) -> Workers: ...

    def __exit__(self, *raised: object) -> None: ...
