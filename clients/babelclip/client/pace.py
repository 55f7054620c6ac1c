"""How many items a request should have: as many as the tower embeds in a fraction of the timeout.

A message begins with all that it may hold, so a fast tower is asked as seldom as possible. A tower that takes
long, or that answers in part, gets smaller ones from then on, and larger ones again as it becomes faster.
"""

from __future__ import annotations

import time

from babelclip.wire import MAX_ITEMS

# The share of the timeout that the answer to a message should take. A tower ends a batch at twice this share
# (handlers/deadline.py), and a message may wait for the batch before it.
_SHARE = 0.2
# A message has at most this many times the items of the last one that was answered quickly.
_GROWTH = 4


class Pace:
    """What one client has seen of one tower; shared by its threads, which may overwrite each other's news.

    Attributes:
        items: how many a message should have.
        progress: messages that were answered with something done.
        largest: bytes of the items of a message, where a larger one was refused for its size; else None.
    """

    def __init__(self, timeout: float) -> None:
        self.items = MAX_ITEMS
        self.progress = 0
        self.largest: int | None = None
        self._seconds = _SHARE * timeout
        self._silent_since: float | None = None

    def answered(self, sent: int, done: int, seconds: float) -> None:
        """A message of `sent` items was answered after `seconds`, `done` of them for good."""
        self._silent_since = None
        if not done:  # Others had the tower's time: a smaller message is embedded before theirs.
            self.items = min(self.items, max(1, sent // 2))
            return
        self.progress += 1
        if done == sent and seconds <= self._seconds and self.items == MAX_ITEMS:
            return
        fitting = int(min(MAX_ITEMS, done * self._seconds / max(seconds, 1e-6)))
        if done < sent or seconds > self._seconds:
            self.items = min(self.items, max(1, fitting))
        else:
            self.items = max(self.items, min(fitting, _GROWTH * sent))

    def too_large(self, size: int) -> None:
        """A message whose items have `size` bytes was refused, by the server or a proxy before it."""
        self.largest = size // 2

    def timed_out(self, sent: int, began: float) -> bool:
        """A message of `sent` items, sent at `began`, had no answer within the timeout.

        Returns:
            Whether the tower seems to be gone: not even one item had an answer, nor had any message since
            another single item had none.
        """
        if sent > 1:
            self.items = 1
            return False
        if self._silent_since is None:
            self._silent_since = time.monotonic()
            return False
        return began >= self._silent_since
