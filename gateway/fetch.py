"""Images by their address: off unless the operator names hosts, and never from inside this network.

A caller who may name an address could otherwise make the gateway ask for it what the caller cannot reach: the
engine on loopback, a cloud's metadata. Therefore

- a host must be one that the operator has named, at its usual port or the one that is named with it;
- each connection is made to an address that was judged to be public where its socket is opened: a name is
  looked up once, and what it turns out to be the next time is judged the next time;
- a redirect is followed as if the caller had sent it: the same hosts, the same judgement;
- bytes, seconds, redirects and the number of addresses in a request are limited, and nothing is unpacked.

Whatever goes wrong is the error of that item alone. The tower decides whether the bytes are an image.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

from babelclip import ItemError
from babelclip.errors import IMAGE_TOO_MANY_BYTES, INVALID_ITEM
from babelclip.transports.http_wire import ssl_context

IMAGE_NOT_FETCHED = "image_not_fetched"
MAX_REDIRECTS = 3
# Connections of all requests together, and of one.
_AT_ONCE = 64
_AT_ONCE_OF_A_REQUEST = 8
_REDIRECTS = (301, 302, 303, 307, 308)
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# Public by their number alone: what Azure's platform answers each machine at, and what is kept for protocols,
# where Oracle's does (older Pythons know a part of it).
_INSIDE = (ipaddress.ip_network("168.63.129.16/32"), ipaddress.ip_network("192.0.0.0/24"))
_log = logging.getLogger(__name__)

Item = str | bytes | ItemError


@dataclass(frozen=True)
class ImageAddress(ItemError):
    """An image that was given by its address: an error, unless a `Fetcher` is there to take it."""

    url: str = ""


def image_address(url: str) -> ImageAddress:
    """The item of an address, and what is said of it where nothing is fetched."""
    message = "an address is not an image, and nothing is fetched; send data:image/…;base64,…"
    return ImageAddress(0, INVALID_ITEM, message, url)


@dataclass(frozen=True)
class Limits:
    """What the addresses of one request may cost.

    Attributes:
        seconds: for an image, redirects included.
        image_bytes: of an image.
        request_bytes: of all images of a request.
        images: addresses in a request.
    """

    seconds: float
    image_bytes: int
    request_bytes: int
    images: int


class Fetcher:
    """Fetches what the hosts of a list have. Made and used within one event loop.

    Args:
        hosts: `HOST` or `HOST:PORT`; `*.HOST` is every name below it, `*` every name. Without a port it is
            80 for http and 443 for https.
        resolver: looks names up; the machine's own by default.
        trusted: whom TLS trusts; the public authorities by default.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        limits: Limits,
        *,
        resolver: AbstractResolver | None = None,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = [_allowed(entry) for entry in hosts]
        self._limits = limits
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._resolver = resolver or Resolver()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=self._resolver,
                use_dns_cache=False,
                socket_factory=_socket_to_public_address,
                ssl=trusted or ssl_context(None),
                limit=0,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "babelclip-gateway", "Accept": "image/*", "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,  # a proxy would look names up unjudged
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._session.close()
        await self._resolver.close()

    async def fetched(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items with each `ImageAddress` replaced by the bytes there, or by why there are none."""
        urls = list(dict.fromkeys(item.url for item in items if isinstance(item, ImageAddress)))
        if not urls:
            return items
        budget = _Budget(self._limits.request_bytes)
        turns = asyncio.Semaphore(_AT_ONCE_OF_A_REQUEST)

        async def one(url: str) -> bytes | ItemError:
            async with turns, self._turns:
                try:
                    async with asyncio.timeout(self._limits.seconds):
                        return await self._fetch(url, budget)
                except _Refused as refused:
                    return ItemError(0, refused.code, refused.message)
                except TimeoutError:
                    message = f"the image did not come within {self._limits.seconds:g} s"
                    return ItemError(0, IMAGE_NOT_FETCHED, message)

        kept = urls[: self._limits.images]
        async with asyncio.TaskGroup() as group:
            tasks = {url: group.create_task(one(url)) for url in kept}
        results: dict[str, Any] = {url: task.result() for url, task in tasks.items()}
        message = f"a request may name {self._limits.images} addresses of images"
        more = ItemError(0, INVALID_ITEM, message)
        return [results.get(item.url, more) if isinstance(item, ImageAddress) else item for item in items]

    async def _fetch(self, url: str, budget: _Budget) -> bytes:
        """The bytes at an address, redirects followed."""
        place = self._judged(url)
        for _ in range(MAX_REDIRECTS + 1):
            try:
                async with self._session.get(place, allow_redirects=False) as response:
                    if response.status not in _REDIRECTS or "Location" not in response.headers:
                        return await self._body(response, budget)
                    place = self._judged(response.headers["Location"], place)
            except aiohttp.ClientError as error:
                # Not what the error says: it would tell of addresses that the caller cannot see.
                _log.info("%s could not be fetched: %s", place.host, error)
                raise _Refused(f"{place.host} gave no answer from a public address") from error
        raise _Refused(f"the address leads on more than {MAX_REDIRECTS} times")

    def _judged(self, url: str, base: yarl.URL | None = None) -> yarl.URL:
        """An address that may be asked.

        Raises:
            _Refused: it may not, or is none.
        """
        try:
            place = yarl.URL(url) if base is None else base.join(yarl.URL(url))
            port = place.port
        except ValueError:
            raise _Refused("the address of the image cannot be read", INVALID_ITEM) from None
        if place.scheme not in ("http", "https") or not place.host:
            raise _Refused("an image's address must begin with https:// or http://", INVALID_ITEM)
        if place.user is not None or place.password is not None:
            raise _Refused("an image's address must hold no user and no password", INVALID_ITEM)
        host = place.host.lower().removesuffix(".")
        usual = place.is_default_port()
        for name, at in self._allowed:
            if (usual if at is None else port == at) and _matches(name, host):
                return place.with_fragment(None)
        raise _Refused("images are not fetched from this host and port", INVALID_ITEM)

    async def _body(self, response: aiohttp.ClientResponse, budget: _Budget) -> bytes:
        if response.status != 200:
            raise _Refused(f"the address was answered with status {response.status}")
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
            raise _Refused("the address gave the image compressed, unasked")
        parts = []
        size = 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > self._limits.image_bytes:
                message = f"the image has too many bytes; at most {self._limits.image_bytes:,} are fetched"
                raise _Refused(message, IMAGE_TOO_MANY_BYTES)
            budget.spend(len(part))
            parts.append(part)
        return b"".join(parts)


class Resolver(AbstractResolver):
    """The machine's own lookup, in threads of its own: a slow name holds up nothing else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of a name."""
        look = asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        )
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=_NUMERIC
            )
            for kind, _, proto, _, address in await look
        ]

    async def close(self) -> None:
        """Waits for nothing."""
        self._threads.shutdown(wait=False, cancel_futures=True)


_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


def is_public(address: str) -> bool:
    """Whether an IP address is one that the whole Internet reaches, and no way into this network.

    Of version 6 only global unicast is, without the ranges that carry an address of version 4 in them, which
    a router may send on to where it points.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if found not in _GLOBAL_UNICAST or found.sixtofour is not None or found.teredo is not None:
            return False
    if any(found in network for network in _INSIDE):
        return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def _socket_to_public_address(info: Any) -> socket.socket:
    """For aiohttp: the socket with which the very address in `info` is then connected to."""
    family, kind, proto, _, address = info
    if not is_public(str(address[0])):
        raise OSError(f"{address[0]} is no public address")
    return socket.socket(family, kind, proto)


def _allowed(entry: str) -> tuple[str, int | None]:
    """`HOST` or `HOST:PORT`; an address of version 6 stands in brackets."""
    host, colon, port = entry.rpartition(":")
    if not colon or entry.endswith("]"):
        host, port = entry, ""
    return host.strip("[]").lower(), int(port) if port else None


def _matches(name: str, host: str) -> bool:
    if name.startswith("*."):
        return host.endswith(name[1:]) and len(host) > len(name) - 1
    return name in ("*", host)


class _Budget:
    """The bytes that a request may still fetch."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            message = f"the images at the request's addresses may have {self._most:,} bytes together"
            raise _Refused(message, IMAGE_TOO_MANY_BYTES)


class _Refused(Exception):
    """Why there are no bytes."""

    def __init__(self, message: str, code: str = IMAGE_NOT_FETCHED) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
