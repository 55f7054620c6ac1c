"""Connections to the port of gRPC, as they are passed on: whole, in both directions, and no others."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from babelclip import Call, Client
from gateway.rpc import embedder_pb2 as pb
from gateway.rpc.relay import Relay
from tests.e2e.support import PATIENCE
from tests.gateway import frames
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    """A gateway before an engine in memory."""
    with gateway(Engine(), tmp_path) as running:
        yield running


def closed(connection: socket.socket) -> bool:
    """Waits for the end of a connection; False where there is none."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass
    return True


def embed(front: Front, *items: pb.Item) -> pb.EmbedItemsResponse:
    """One call with the key, on a connection of its own."""
    target = front.addresses.grpc.removeprefix("grpc://")
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(target, options=options) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/babelclip.v1.Embedder/Embed")
        sent = pb.EmbedItemsRequest(items=items).SerializeToString()
        metadata = (("authorization", f"Bearer {front.key}"),)
        answer = call(sent, metadata=metadata, timeout=PATIENCE, wait_for_ready=True)
        return pb.EmbedItemsResponse.FromString(answer)


def test_large_messages_pass_whole(front: Front) -> None:
    """Megabytes in both directions, more than any buffer between holds."""
    images = [os.urandom(6_000_000), os.urandom(5_000_000)]
    many = [pb.Item(text=f"{number}") for number in range(2000)]
    answer = embed(front, *(pb.Item(image=image) for image in images))
    expected = front.engine.versions["1.0"].vector(images[1])
    assert answer.vectors[-4 * len(expected) :] == expected.tobytes()
    assert len(embed(front, *many).vectors) == 2000 * 4 * len(expected)


def test_many_clients_at_once_have_their_own_answers(front: Front) -> None:
    """Connections are not mixed up."""
    engine = front.engine.versions["1.0"]
    with contextlib.ExitStack() as left:
        clients = [left.enter_context(Client(front.addresses.grpc, token=front.key)) for _ in range(8)]
        for round_ in range(3):
            for number, client in enumerate(clients):
                text = f"{round_} {number}"
                assert client.embed_texts([text]).vectors[0].tobytes() == engine.vector(text).tobytes()


def test_settings_that_were_not_seen_are_not_acknowledged(front: Front) -> None:
    """Who acknowledges before there is anything is no client, and would have gRPC without its bounds."""
    with frames.connected(front.addresses.grpc, PATIENCE) as connection:
        connection.sendall(
            frames.PREFACE + frames.frame(frames.SETTINGS) + frames.frame(frames.SETTINGS, frames.ACK)
        )
        assert closed(connection)
    assert embed(front, pb.Item(text="a")).dim


def test_heads_beyond_the_bound_end_the_connection(front: Front) -> None:
    """Before the settings are acknowledged; one who acknowledges them may send as many."""
    head = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, frames.call_headers())
    with frames.connected(front.addresses.grpc, PATIENCE) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(frames.PREFACE + frames.frame(frames.SETTINGS) + head * 1000)
        assert closed(connection)
    with frames.opened(front.addresses.grpc, PATIENCE) as connection:
        connection.sendall(frames.frame(frames.PING, payload=b"answered"))
        seen = b""
        while b"answered" not in seen:
            seen += connection.recv(65536)


@pytest.mark.parametrize("sent", [b"", frames.PREFACE[:5], frames.PREFACE + frames.frame(frames.SETTINGS)])
def test_one_who_does_not_go_on_is_closed(front: Front, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """Whoever has not acknowledged the settings in time has no connection any more."""
    monkeypatch.setattr(Relay, "preface_seconds", 0.05)
    with frames.connected(front.addresses.grpc, PATIENCE) as connection:
        connection.sendall(sent)
        assert closed(connection)


def test_there_are_no_more_connections_than_allowed(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes beyond is closed, those that are open go on, and there is room again after."""
    monkeypatch.setattr(Relay, "most_connections", 1)
    with frames.opened(front.addresses.grpc, PATIENCE) as first:
        with frames.connected(front.addresses.grpc, PATIENCE) as second:
            assert closed(second)
        first.sendall(frames.frame(frames.PING, payload=b"answered"))
        seen = b""
        while b"answered" not in seen:
            seen += first.recv(65536)
    assert embed(front, pb.Item(text="a")).dim


def test_a_client_that_goes_takes_its_calls_along(front: Front) -> None:
    """gRPC learns of it, and gives up what nobody waits for any more."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def during(call: Call) -> None:
        if b"held" not in call.body:
            return
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    bearer = frames.header(b"authorization", f"Bearer {front.key}".encode())
    message = pb.EmbedItemsRequest(items=[pb.Item(text="held")]).SerializeToString()
    assert embed(front, pb.Item(text="a")).dim
    front.engine.during = during
    with frames.opened(front.addresses.grpc, PATIENCE) as connection:
        connection.sendall(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, frames.call_headers(bearer)))
        data = b"\0" + len(message).to_bytes(4) + message
        connection.sendall(frames.frame(frames.DATA, frames.END_STREAM, 1, data))
        wait_for(begun)
    wait_for(ended)


def wait_for(event: asyncio.Event) -> None:
    """Until the gateway's thread has set it."""

    async def poll() -> None:
        while not event.is_set():
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(poll(), PATIENCE))
