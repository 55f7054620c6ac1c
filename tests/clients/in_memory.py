"""A transport to a fake server in the same process, for what does not depend on how messages travel."""

from __future__ import annotations

from collections import deque

from babelclip import Unavailable
from babelclip.embedding_pb2 import EmbedRequest, EmbedResponse
from babelclip.transports.base import Call
from tests.clients.fake_server import FakeServer


class InMemory:
    """`busy` holds images that get no turn, once each; while `lost`, messages get no answer."""

    def __init__(self) -> None:
        self.fake = FakeServer()
        self.busy: deque[bytes] = deque()
        self.lost = False

    def send(self, call: Call) -> bytes:
        response = EmbedResponse.FromString(self.fake.embed(call.model, call.version, call.body))
        if self.lost:
            raise Unavailable("nobody answers", retryable=False)
        for index, item in enumerate(EmbedRequest.FromString(call.body).images):
            if item in self.busy:
                self.busy.remove(item)
                response.errors.add(index=index, code="overloaded", message="no time left")
        response.errors.sort(key=lambda error: error.index)
        return response.SerializeToString()

    def close(self) -> None:
        pass
