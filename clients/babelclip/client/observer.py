"""What may look on as a client works."""

from __future__ import annotations

from typing import Protocol

from babelclip.client.splitting import Message
from babelclip.embeddings import Embeddings
from babelclip.wire import Tower


class Observer(Protocol):
    """Is shown each message that was delivered, such as a `babelclip.Shadow`."""

    def observe(self, tower: Tower, message: Message, served: Embeddings, seconds: float) -> None:
        """`served` are the embeddings of the message's items, which took so many seconds.

        Called in the thread, or the event loop, of the client: it must neither block nor raise.
        """
        ...
