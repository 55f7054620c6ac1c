"""A second attempt where the first is slow to answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from queue import Empty, SimpleQueue

from babelclip.transports.base import Call


def hedged(send: Callable[[Call], bytes], call: Call, seconds: float) -> bytes:
    """The first answer to a call that is sent again when it has none after `seconds`.

    Raises:
        BabelclipError: what the first attempt raised, when none of those made had an answer.
    """
    outcomes: SimpleQueue[bytes | BaseException] = SimpleQueue()

    def attempt(call: Call) -> None:
        try:
            outcomes.put(send(call))
        except BaseException as error:
            outcomes.put(error)

    def begin(call: Call) -> None:
        # A thread of its own: the loser may be long in coming, and nobody waits for it.
        threading.Thread(target=attempt, args=(call,), name="babelclip-hedge", daemon=True).start()

    begin(call)
    first = _outcome(outcomes, seconds)
    if first is None:
        begin(later(call, seconds))
        first = _outcome(outcomes, None)
        if isinstance(first, BaseException):
            second = _outcome(outcomes, None)
            first = second if isinstance(second, bytes) else first
    if isinstance(first, bytes):
        return first
    assert first is not None
    raise first


def later(call: Call, seconds: float) -> Call:
    """The same call, to be made so many seconds later: it has as much less time."""
    return replace(call, timeout=max(1e-3, call.timeout - seconds))


def _outcome(
    outcomes: SimpleQueue[bytes | BaseException], seconds: float | None
) -> bytes | BaseException | None:
    try:
        return outcomes.get(timeout=seconds)
    except Empty:
        return None
