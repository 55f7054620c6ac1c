"""Trying again, where that is safe and helps: nobody listening yet, no free worker, or no time left there.

Embedding changes nothing on the server, so a repeated request does no harm; waiting a random time keeps many
clients from coming back together.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from babelclip.errors import BabelclipError, Unavailable


@dataclass(frozen=True)
class Backoff:
    """Up to `attempts` attempts; before the n-th repetition a wait of 0 to min(base · 2ⁿ⁻¹, cap) seconds."""

    attempts: int = 4
    base: float = 0.2
    cap: float = 2.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"a Backoff has at least one attempt, not {self.attempts}")


class RetryState:
    """The time and the attempts that one chunk has until something of it is done.

    Attributes:
        began: when the latest attempt was begun, by time.monotonic().
    """

    def __init__(self, timeout: float, backoff: Backoff) -> None:
        self._timeout = timeout
        self._backoff = backoff
        self.reset()

    def reset(self) -> None:
        """Something was done, or will be tried in another way: all time and attempts again."""
        self.began = time.monotonic()
        self._deadline = self.began + self._timeout
        self._attempts = 0

    def remaining(self) -> float:
        """Seconds that the next attempt would have; all of the timeout for the first one."""
        return self._timeout if not self._attempts else max(1e-3, self._deadline - time.monotonic())

    def begin_attempt(self) -> float:
        """Counts an attempt that begins now → the seconds it has."""
        seconds = self.remaining()
        if self._attempts:
            self.began = time.monotonic()
        self._attempts += 1
        return seconds

    def elapsed(self) -> float:
        """Seconds since the latest attempt was begun."""
        return time.monotonic() - self.began

    def pause(self) -> float | None:
        """Seconds to wait before another attempt; None when no attempt, or no time, is left."""
        if self._attempts >= self._backoff.attempts:
            return None
        doubled = self._backoff.base * 2.0 ** min(self._attempts - 1, 100)
        pause = random.uniform(0.0, min(doubled, self._backoff.cap))
        return pause if time.monotonic() + pause < self._deadline else None

    def pause_after(self, error: BabelclipError) -> float:
        """`pause` after an attempt that failed.

        Raises:
            BabelclipError: `error`, where another attempt cannot help or none is left.
        """
        pause = self.pause() if isinstance(error, Unavailable) and error.retryable else None
        if pause is None:
            raise error
        return pause
