"""What every kind of job works with, in its thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from babelclip.index import Settings
from gateway.access.account import Account
from gateway.collections.calls import Calls
from gateway.collections.store import Opened
from gateway.errors import malformed


class Cancelled(Exception):
    """The job is to end."""


class Progress(Protocol):
    """Told how far a job is; raises `Cancelled` where it is to end."""

    def __call__(self, done: int, total: int | None) -> None: ...

    def is_cancelled(self) -> bool:
        """Whether it is to end."""
        ...


@dataclass
class JobContext:
    """What a job works with, in its thread.

    Attributes:
        loop: the gateway's event loop, in which everything is embedded.
        account: of the key that began the job; its limits hold for what the job embeds.
        progress: set when the job begins.
    """

    calls: Calls
    opened: Opened
    settings: Settings
    loop: asyncio.AbstractEventLoop
    account: Account | None
    progress: Progress = field(init=False)


Work = Callable[[JobContext], Mapping[str, Any]]


def only(parameters: Mapping[str, Any], *allowed: str) -> None:
    """Refuse parameters that a kind of job does not take.

    Raises:
        ApiError: there is one.
    """
    if extra := set(parameters) - set(allowed):
        named = ", ".join(allowed) or "nothing else"
        raise malformed(f"this kind of job takes {named}, and no {min(extra)[:32]!r}", min(extra)[:32])
