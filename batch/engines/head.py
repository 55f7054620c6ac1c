"""Whether the head of a Ray cluster answers: without it no actor can be placed or replaced.

Ray itself says nothing of that to a driver: calls wait, and after a minute its process is ended from within.
So another thread asks now and then, and the driver ends in time, with a sentence.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from batch.engines.base import EngineError

PATIENCE = 20.0
"""Seconds without an answer: a head that is started again in between loses nothing, if its cluster keeps its
state; and a third of what Ray waits for."""
_EVERY = 2.0  # seconds between two questions


class Head:
    """One that is asked from now on.

    Args:
        address: of the cluster, for people.
        ask: returns when the head has answered, and may wait or fail while it does not.
    """

    def __init__(self, address: str, ask: Callable[[], object]) -> None:
        self._address, self._ask = address, ask
        self._answered = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="head", daemon=True)
        self._thread.start()

    @property
    def gone(self) -> bool:
        """Whether it has been silent for too long."""
        return time.monotonic() - self._answered > PATIENCE

    def check(self) -> None:
        """Whether it is there.

        Raises:
            EngineError: it is gone.
        """
        if self.gone:
            raise EngineError(
                f"the head of the Ray cluster at {self._address} has not answered for {PATIENCE:.0f} s: what"
                " is finished stays, and with a cluster there again the same command goes on"
            )

    def close(self) -> None:
        """Ask no longer; a question that is under way is waited for, but not for long."""
        self._end.set()
        self._thread.join(_EVERY)

    def _watch(self) -> None:
        while not self._end.wait(_EVERY):
            try:
                self._ask()
            except Exception:  # Ray has several for it; what counts is how long there is none but these.
                continue
            self._answered = time.monotonic()
