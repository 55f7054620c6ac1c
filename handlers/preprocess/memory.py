"""The memory that the images of a worker share while they are being decoded."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Memory:
    """A number of bytes: each thread takes what its image needs, and waits while others have it.

    An image that needs more than the total takes all of it, and is decoded alone.
    """

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taking(self, amount: int) -> Iterator[None]:
        """Wait for `amount` bytes and hold them; a thread must not hold any already."""
        amount = min(amount, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()
