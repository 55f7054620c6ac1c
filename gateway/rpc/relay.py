"""The port of gRPC: who connects is passed on to gRPC's own server, within what that server bounds.

See `gateway.rpc.preface` for what it does not bound. gRPC listens on a socket in a folder that only this
process's user may enter. TLS ends here.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
from typing import cast

from gateway.rpc.preface import Preface

# Descriptors: a connection takes three, and half of them are for HTTP, the engine and files.
_MOST_CONNECTIONS = max(64, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 256) // 6)
_BACKLOG = 2048


class Relay:
    """Passes connections on from `start` to `stop`. Used within one event loop.

    Args:
        tls: with which it listens; None for none.

    Attributes:
        path: of the socket on which gRPC listens.
        preface_seconds: in which a client must have acknowledged the settings.
        reader_seconds: for what is written when gRPC has closed a connection to be taken.
        most_connections: that may be open at once; further ones are closed.
    """

    preface_seconds = 20.0
    reader_seconds = 60.0
    most_connections = _MOST_CONNECTIONS

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.path = ""
        self._tls = tls
        self._server: asyncio.Server | None = None
        self.connections: set[_Caller] = set()

    async def start(self, path: str, host: str, port: int, *, shared: bool) -> int:
        """Listen → the port; 0 takes a free one.

        Args:
            path: see `Relay`.
            shared: other processes may listen there as well.

        Raises:
            OSError: the address is none of this machine, or the port is taken.
        """
        self.path = path
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=shared)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Caller(self), sock=listener, ssl=self._tls)
        found: int = listener.getsockname()[1]
        return found

    def close(self) -> None:
        """Take no further connection."""
        if self._server is not None:
            self._server.close()

    def stop(self) -> None:
        """Close those that are left."""
        self.close()
        for caller in list(self.connections):
            caller.abort()


class _Caller(asyncio.Protocol):
    """A connection of a client. `server` is the one to gRPC, once there is one."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._preface = Preface()
        self._held = bytearray()
        self._joining: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None
        self.server: asyncio.Transport | None = None
        self.answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._relay.connections.add(self)
        if len(self._relay.connections) > self._relay.most_connections:
            self.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(self._relay.preface_seconds, self.abort)

    def data_received(self, data: bytes) -> None:
        if not self._preface.acknowledged and not self._may_pass(data):
            self.abort()
        elif self.server is not None:
            self.server.write(data)
        else:
            self._held += data
            if self._preface.begun and self._joining is None:
                _pause(self.transport)
                self._joining = asyncio.create_task(self._join())

    def _may_pass(self, data: bytes) -> bool:
        if not self._preface.take(data):
            return False
        if self._preface.acknowledged:
            if self._timer is not None:
                self._timer.cancel()
            # One who acknowledges what gRPC has not sent yet is not taken at his word by gRPC either.
            return self.answered
        return True

    async def _join(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_unix_connection(lambda: _Server(self), self._relay.path)
        except OSError:  # It has been stopped, or there are no descriptors left.
            self.abort()

    def joined(self, server: asyncio.Transport) -> None:
        """gRPC has taken the connection."""
        assert self.transport is not None
        if self.transport.is_closing():
            server.abort()
            return
        self.server = server
        server.write(bytes(self._held))
        self._held.clear()
        self.transport.resume_reading()

    def left(self) -> None:
        """gRPC has closed the connection."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
            asyncio.get_running_loop().call_later(self._relay.reader_seconds, self.transport.abort)

    def abort(self) -> None:
        """Close the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    def pause_writing(self) -> None:
        _pause(self.server)

    def resume_writing(self) -> None:
        _resume(self.server)

    def connection_lost(self, exc: Exception | None) -> None:
        self._relay.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._joining is not None:
            self._joining.cancel()
        if self.server is not None:
            self.server.close()


class _Server(asyncio.Protocol):
    """The same connection, on the side of gRPC."""

    def __init__(self, caller: _Caller) -> None:
        self._caller = caller

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._caller.joined(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self._caller.answered = True
        if self._caller.transport is not None:
            self._caller.transport.write(data)

    def pause_writing(self) -> None:
        _pause(self._caller.transport)

    def resume_writing(self) -> None:
        _resume(self._caller.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._caller.left()


def _pause(transport: asyncio.Transport | None) -> None:
    if transport is not None and not transport.is_closing():
        transport.pause_reading()


def _resume(transport: asyncio.Transport | None) -> None:
    if transport is not None and not transport.is_closing():
        transport.resume_reading()


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """That of a server of HTTP/2 with a certificate and its key, files in PEM.

    Raises:
        OSError: one cannot be read, or is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    return context
