"""Trying again, where that is safe and helps: nobody listening yet, or no free worker.

Embedding changes nothing on the server, so a repeated request does no harm; waiting a random time keeps many
clients from coming back together.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from babelclip.errors import Unavailable


@dataclass(frozen=True)
class Backoff:
    """Up to `attempts` attempts; before the n-th repetition a wait of 0 to min(base · 2ⁿ⁻¹, cap) seconds."""

    attempts: int = 4
    base: float = 0.2
    cap: float = 2.0


Answer = TypeVar("Answer")


def send_patiently(send: Callable[[float], Answer], *, timeout: float, backoff: Backoff) -> Answer:
    """`send(seconds left)`, repeated after a retryable Unavailable while attempts and time are left.

    Raises:
        Unavailable: the last one, when there is no time or no attempt left.
    """
    deadline = time.monotonic() + timeout
    remaining = timeout
    for repetition in range(backoff.attempts):
        try:
            return send(remaining)
        except Unavailable as error:
            pause = random.uniform(0.0, min(backoff.base * 2**repetition, backoff.cap))
            remaining = deadline - time.monotonic() - pause
            if not error.retryable or repetition + 1 >= backoff.attempts or remaining <= 0:
                raise
            time.sleep(pause)
    raise AssertionError("a Backoff has at least one attempt")
