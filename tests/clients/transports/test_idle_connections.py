"""A connection on which nothing is said: what stands between client and server forgets it without a word."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from babelclip import AsyncClient, Client
from babelclip.transports import grpc as transport_grpc
from tests.clients.fake_server import FakeServer, grpc_server

PATIENCE = 60.0


class Relay:
    """Passes connections on to a server, until it forgets one: that stays open, and nothing comes through."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"grpc://127.0.0.1:{self._listening.getsockname()[1]}"
        self.opened = 0
        self.hung_up = threading.Event()  # the client has, on its first connection
        self.forgotten = threading.Event()  # the first connection is
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                first, self.opened = self.opened == 0, self.opened + 1
                thread = threading.Thread(target=self._serve, args=(client, first))
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket, first: bool) -> None:
        with client, socket.create_connection(self._target) as server:
            back = threading.Thread(target=self._pass, args=(server, client, first))
            back.start()
            self._pass(client, server, first)
            if first:
                self.hung_up.set()
            back.join()

    def _pass(self, source: socket.socket, sink: socket.socket, first: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if not (first and self.forgotten.is_set()):
                    sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Once its clients have hung up."""
        self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listening.close()


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """A relay before a gRPC server, and clients that give up a silent connection within a second."""
    monkeypatch.setattr(transport_grpc, "IDLE_SECONDS", 1)
    fake: FakeServer = grpc_server()
    relay = Relay(fake.url.removeprefix("grpc://"))
    yield relay
    relay.close()
    fake.close()


def test_a_forgotten_connection_is_not_used_again(relay: Relay) -> None:
    """After a pause the client opens another connection, instead of waiting on one that leads nowhere."""
    with Client(relay.url, timeout=PATIENCE) as client:
        assert len(client.embed_texts(["a"])) == 1
        assert relay.hung_up.wait(PATIENCE), "the client still holds on to the silent connection"
        relay.forgotten.set()
        assert len(client.embed_texts(["b"])) == 1
    assert relay.opened == 2


def test_nor_by_the_asynchronous_client(relay: Relay) -> None:
    """The same over gRPC's other half."""

    async def embed() -> None:
        async with AsyncClient(relay.url, timeout=PATIENCE) as client:
            assert len(await client.embed_texts(["a"])) == 1
            assert await asyncio.to_thread(relay.hung_up.wait, PATIENCE)
            relay.forgotten.set()
            assert len(await client.embed_texts(["b"])) == 1

    asyncio.run(embed())
    assert relay.opened == 2
