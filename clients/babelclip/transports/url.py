"""An address, and the transport that reaches it."""

from __future__ import annotations

import asyncio
import urllib.parse
from dataclasses import dataclass

from babelclip.transports.base import AsyncTransport, Call, Tls, Transport

# What the address of a model store begins with, whose model runs in the caller's own process.
LOCAL = "mar:"
# What the address of a Ray cluster begins with, which this process joins.
RAY = "ray:"


@dataclass(frozen=True)
class Address:
    """Where a server is: `scheme` is http, https, grpc or grpcs; a gRPC server's `port` has a default."""

    scheme: str
    host: str
    port: int | None
    path: str

    @property
    def target(self) -> str:
        """`host:port`, or `host` where the port is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


def parse_address(url: str) -> Address:
    """`http://…`, `https://…`, `grpc://…` (port 7070 unless named) or `grpcs://…` (gRPC over TLS, 443).

    Raises:
        ValueError: the URL has another scheme, no host, or parts that have no meaning here.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https", "grpc", "grpcs"):
        raise ValueError(
            f"{url!r} is no address: it must start with http://, https://, grpc:// or grpcs://, or be"
            f" {LOCAL} and the folder of a model store"
        )
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "an address holds no user name or password; pass the token as `token` or `token_file`"
        )
    if parts.netloc.count(":") > 1 and "[" not in parts.netloc:
        raise ValueError(f"{url!r} is no address: one of IPv6 stands in brackets, as in http://[::1]:8080")
    if not parts.hostname:
        raise ValueError(f"{url!r} names no host")
    if not url.isprintable() or " " in url:
        raise ValueError(f"{url!r} is no address: it holds characters that no address has")
    if parts.query or parts.fragment:
        raise ValueError(f"{url!r} has a query or a fragment, which mean nothing here")
    path = parts.path.rstrip("/")
    if path and parts.scheme in ("grpc", "grpcs"):
        raise ValueError(f"{url!r} has a path, which gRPC has no place for")
    try:
        port = parts.port or {"grpc": 7070, "grpcs": 443}.get(parts.scheme)
    except ValueError:
        raise ValueError(f"{url!r} has a port that is not from 0 to 65535") from None
    return Address(parts.scheme, parts.hostname, port, path)


def is_local(url: str) -> bool:
    """Whether the address is that of a model store, `mar:FOLDER` or `mar:FOLDER#NAME`, and of no server."""
    return url.startswith(LOCAL)


def is_ray(url: str) -> bool:
    """Whether the address is that of a Ray cluster, `ray:ADDRESS`, which `AsyncClient` alone takes."""
    return url.startswith(RAY)


def open_transport(url: str, tls: Tls | None = None) -> Transport:
    """The transport for an address; connects with the first call.

    `mar:FOLDER` opens the default entry of a model store, `mar:FOLDER#NAME` another one. The folder is a
    path, relative or absolute, and nothing in it is escaped.

    Raises:
        ValueError: as in `parse_address`; or there is no such model store, or no such entry in it; or `tls`
            is given for an address without TLS, or holds no certificates.
        OSError: the store's manifest cannot be read.
    """
    # Each library costs a tenth of a second to import and only one of them is needed.
    if is_local(url):
        from babelclip.transports.inprocess import InProcessTransport

        store, _, name = url.removeprefix(LOCAL).partition("#")
        if not store:
            raise ValueError(f"{url!r} names no model store; write {LOCAL} and its folder")
        return InProcessTransport(store, name or None)
    if is_ray(url):
        raise ValueError(
            f"{url!r} is the address of a Ray cluster, which AsyncClient takes, and Client does not"
        )
    address = _checked(url, tls)
    if address.scheme in ("http", "https"):
        from babelclip.transports.http import HttpTransport

        return HttpTransport(f"{address.scheme}://{address.target}{address.path}", tls)
    from babelclip.transports.grpc import GrpcTransport

    return GrpcTransport(address.target, secure=address.scheme == "grpcs", tls=tls)


def open_async_transport(url: str, tls: Tls | None = None) -> AsyncTransport:
    """`open_transport` for an event loop. Archives in this process compute in threads."""
    if is_local(url):
        return InThreads(open_transport(url))
    if is_ray(url):
        from babelclip.transports.ray import RayTransport

        if tls is not None:
            raise ValueError(f"{url!r} has no TLS that certificates could be for; the cluster has its own")
        return RayTransport(url)
    address = _checked(url, tls)
    if address.scheme in ("http", "https"):
        from babelclip.transports.http_async import AsyncHttpTransport

        return AsyncHttpTransport(f"{address.scheme}://{address.target}{address.path}", tls)
    from babelclip.transports.grpc import AsyncGrpcTransport

    return AsyncGrpcTransport(address.target, secure=address.scheme == "grpcs", tls=tls)


class InThreads:
    """A `Transport` as an `AsyncTransport`: each call has a thread of the event loop's executor."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, call: Call) -> bytes:
        """See `Transport.send`."""
        return await asyncio.to_thread(self._transport.send, call)

    async def close(self) -> None:
        """See `Transport.close`."""
        await asyncio.to_thread(self._transport.close)


def _checked(url: str, tls: Tls | None) -> Address:
    address = parse_address(url)
    if tls is not None and address.scheme not in ("https", "grpcs"):
        raise ValueError(f"{url!r} has no TLS that certificates could be for; write https:// or grpcs://")
    return address
