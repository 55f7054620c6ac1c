"""A server in memory that says which images it was sent."""

from __future__ import annotations

from typing import Any

from babelclip import Unavailable
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.testing import InMemoryTransport
from babelclip.transports.base import Call


class Counting(InMemoryTransport):
    """While `lost`, it is not there."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.lost = False

    def send(self, call: Call) -> bytes:
        if self.lost:
            raise Unavailable("nobody answers", retryable=False)
        return super().send(call)

    def images(self) -> list[bytes]:
        """What was embedded since the last time that this was asked."""
        sent = [item for call in self.calls for item in EmbedRequest.FromString(call.body).images]
        self.calls.clear()
        return sent
