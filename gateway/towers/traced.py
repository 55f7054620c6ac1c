"""A transport to the engine that asks what the towers did, and makes spans of it."""

from __future__ import annotations

import time
from dataclasses import replace

from babelclip import AsyncTransport, Call
from babelclip.embedding_pb2 import EmbedRequest, EmbedResponse
from gateway import tracing

# What follows a message of protobuf is merged into it. An engine of before passes it over.
_ASKING = EmbedRequest(stages=True).SerializeToString()


class TracedTransport:
    """See `babelclip.AsyncTransport`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def send(self, call: Call) -> bytes:
        """See `AsyncTransport.send`; probes, which belong to nobody's call, are sent as they are."""
        if not tracing.in_call():
            return await self._transport.send(call)
        began = time.time_ns()
        answer = await self._transport.send(replace(call, body=call.body + _ASKING))
        ended = time.time_ns()
        stages = EmbedResponse.FromString(answer).stages
        tracing.stage_spans([(stage.name, stage.seconds) for stage in stages], began, ended)
        return answer

    async def close(self) -> None:
        """See `AsyncTransport.close`."""
        await self._transport.close()
