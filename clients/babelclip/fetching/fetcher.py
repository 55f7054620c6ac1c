"""What stands at an address, from hosts that were named, and never from inside this network.

Who may name an address could otherwise make a program ask for it what they cannot reach themselves: a server
on loopback, a cloud's metadata. Therefore

- a host must be one that was named, at its usual port or the one that is named with it;
- each connection is made to an address that was judged to be public where its socket is opened;
- a redirect is followed as if it had been given: the same hosts, the same judgement;
- bytes, seconds and redirects are limited, and nothing is unpacked.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Self

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver

from babelclip.errors import IMAGE_TOO_MANY_BYTES, INVALID_ITEM
from babelclip.fetching.errors import NotFetched
from babelclip.fetching.hosts import Hosts
from babelclip.fetching.public_addresses import Resolver, socket_to_public_address
from babelclip.transports.http_wire import ssl_context

MAX_REDIRECTS = 3
_AT_ONCE = 64  # connections
_REDIRECTS = (301, 302, 303, 307, 308)
_log = logging.getLogger(__name__)


class Fetcher:
    """Fetches images. Made and used within one event loop.

    Args:
        hosts: those that may be asked.
        seconds: for an image, redirects included.
        max_bytes: of an image.
        resolver: looks names up; the machine's own by default.
        trusted: whom TLS trusts; the public authorities by default.
    """

    def __init__(
        self,
        hosts: Hosts,
        *,
        seconds: float,
        max_bytes: int,
        resolver: AbstractResolver | None = None,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        self._hosts, self._seconds, self._max_bytes = hosts, seconds, max_bytes
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._resolver = resolver or Resolver()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=self._resolver,
                use_dns_cache=False,
                socket_factory=socket_to_public_address,
                ssl=trusted or ssl_context(None),
                limit=0,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "babelclip", "Accept": "image/*", "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,  # a proxy would look names up unjudged
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections."""
        await self._session.close()
        await self._resolver.close()

    async def fetch(self, url: str, spend: Callable[[int], None] | None = None) -> bytes:
        """The bytes at an address, redirects followed.

        Args:
            spend: told of each part's size as it comes; what it raises ends the fetching.

        Raises:
            NotFetched: it may not be asked, or gave no image that fits the limits.
        """
        async with self._turns:
            try:
                async with asyncio.timeout(self._seconds):
                    return await self._followed(url, spend)
            except TimeoutError:
                raise NotFetched(f"the image did not come within {self._seconds:g} s") from None

    async def _followed(self, url: str, spend: Callable[[int], None] | None) -> bytes:
        place = self._judged(url)
        for _ in range(MAX_REDIRECTS + 1):
            try:
                async with self._session.get(place, allow_redirects=False) as response:
                    if response.status not in _REDIRECTS or "Location" not in response.headers:
                        return await self._body(response, spend)
                    place = self._judged(response.headers["Location"], place)
            except aiohttp.ClientError as error:
                # Not what the error says: it would tell of addresses that the caller cannot see.
                _log.info("%s could not be fetched: %s", place.host, error)
                raise NotFetched(f"{place.host} gave no answer from a public address") from error
        raise NotFetched(f"the address leads on more than {MAX_REDIRECTS} times")

    def _judged(self, url: str, base: yarl.URL | None = None) -> yarl.URL:
        """An address that may be asked.

        Raises:
            NotFetched: it may not, or is none.
        """
        try:
            place = yarl.URL(url) if base is None else base.join(yarl.URL(url))
            allowed = place in self._hosts
        except ValueError:
            raise NotFetched("the address of the image cannot be read", INVALID_ITEM) from None
        if place.scheme not in ("http", "https") or not place.host:
            raise NotFetched("an image's address must begin with https:// or http://", INVALID_ITEM)
        if place.user is not None or place.password is not None:
            raise NotFetched("an image's address must hold no user and no password", INVALID_ITEM)
        if not allowed:
            raise NotFetched("images are not fetched from this host and port", INVALID_ITEM)
        return place.with_fragment(None)

    async def _body(self, response: aiohttp.ClientResponse, spend: Callable[[int], None] | None) -> bytes:
        if response.status != 200:
            raise NotFetched(f"the address was answered with status {response.status}")
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
            raise NotFetched("the address gave the image compressed, unasked")
        parts = []
        size = 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > self._max_bytes:
                message = f"the image has too many bytes; at most {self._max_bytes:,} are fetched"
                raise NotFetched(message, IMAGE_TOO_MANY_BYTES)
            if spend is not None:
                spend(len(part))
            parts.append(part)
        return b"".join(parts)
