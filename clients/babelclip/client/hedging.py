"""A second attempt where the first is slow to answer: what to do, for whoever does it.

`hedge` is a generator without input or output. Driven by a client, it yields what is to be done next, and is
sent what came of it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

from babelclip.transports.base import Call

Outcome = bytes | BaseException
"""Of an attempt: the answer, or what it raised."""


@dataclass(frozen=True)
class Begin:
    """Send this call in the background; nothing comes of it at once."""

    call: Call


@dataclass(frozen=True)
class Wait:
    """Wait for the next outcome of what was begun; None comes of it after `seconds` without one."""

    seconds: float | None


Hedge = Generator[Begin | Wait, Outcome | None, bytes]


def hedge(call: Call, after: float) -> Hedge:
    """The first answer to a call that is sent again when it has none within `after` seconds.

    Raises:
        BaseException: what the first attempt to end raised, when none of those made had an answer.
    """
    yield Begin(call)
    first = yield Wait(after)
    if first is None:
        # Made later, it has less time.
        yield Begin(replace(call, timeout=max(1e-3, call.timeout - after)))
        first = yield Wait(None)
        if isinstance(first, BaseException):
            second = yield Wait(None)
            first = second if isinstance(second, bytes) else first
    if isinstance(first, bytes):
        return first
    assert first is not None  # A wait without end has an outcome.
    raise first
