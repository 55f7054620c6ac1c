"""What may look on as a client works."""

from __future__ import annotations

from typing import Protocol

from babelclip.client.splitting import RequestChunk
from babelclip.embeddings import Embeddings
from babelclip.wire import Tower


class Observer(Protocol):
    """Any object with this method can be a client's `shadow`, such as a `babelclip.Shadow`."""

    def observe(self, tower: Tower, chunk: RequestChunk, served: Embeddings, seconds: float) -> None:
        """`served` are the embeddings of the chunk's items, which took so many seconds.

        Called in the thread, or the event loop, of the client, which waits for it: it must not block. What it
        raises is logged, and costs the caller nothing.
        """
        ...
