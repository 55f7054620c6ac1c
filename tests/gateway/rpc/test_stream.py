"""EmbedStream over a real channel: its caller's deadline, and a caller who leaves."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc

from babelclip import Call
from babelclip.embedding_pb2 import EmbedRequest
from gateway.rpc import embedder_pb2 as pb
from tests.e2e.support import PATIENCE
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway
from tests.gateway.rpc.test_service import channel, request


def stream(opened: grpc.Channel, front: Front, requests: Iterator[pb.EmbedItemsRequest]) -> grpc.Call:
    """The call, under way."""
    return opened.stream_stream(
        "/babelclip.v1.Embedder/EmbedStream",
        request_serializer=pb.EmbedItemsRequest.SerializeToString,
        response_deserializer=pb.EmbedItemsResponse.FromString,
    )(requests, metadata=(("authorization", f"Bearer {front.key}"),), timeout=20.0)


def test_what_is_left_of_the_deadline_reaches_the_tower(tmp_path: Path) -> None:
    """Each request of a stream has what is left of the stream's time, and no more."""
    with gateway(Engine(), tmp_path) as front, channel(front) as opened:
        requests = iter([request(f"text {number}") for number in range(3)])
        assert len(list(stream(opened, front, requests))) == 3  # type: ignore[call-overload]
        sent = [EmbedRequest.FromString(call.body) for call in front.engine.calls]
        told = [each.timeout_ms for each in sent for text in each.texts if text.startswith(b"text ")]
    assert len(told) == 3
    assert all(0 < milliseconds < 25_000 for milliseconds in told)  # gRPC rounds what is left up.


def test_who_leaves_a_stream_is_computed_for_no_longer(tmp_path: Path) -> None:
    """What was under way for a caller is given up with the call."""
    began, given_up = threading.Event(), threading.Event()
    engine = Engine()

    async def hold(call: Call) -> None:
        if b"held" in call.body:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                given_up.set()

    engine.during = hold
    with gateway(engine, tmp_path) as front, channel(front) as opened:
        call = stream(opened, front, iter([request("held")]))
        assert began.wait(PATIENCE)
        call.cancel()
        assert given_up.wait(PATIENCE)
