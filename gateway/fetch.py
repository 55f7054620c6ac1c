"""Images of a request that are given by their address: off unless the operator names hosts.

Whatever goes wrong is the error of that item alone. The tower decides whether the bytes are an image.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from babelclip import ItemError
from babelclip.errors import IMAGE_TOO_MANY_BYTES, INVALID_ITEM
from babelclip.fetching import Hosts, NotFetched

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

_AT_ONCE = 8  # connections of a request

Item = str | bytes | ItemError


@dataclass(frozen=True)
class ImageAddress(ItemError):
    """An image that was given by its address: an error, unless an `ItemFetcher` is there to take it."""

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


class ItemFetcher:
    """Fetches what the hosts of a list have. Made and used within one event loop.

    Args:
        hosts, resolver, trusted: as of `babelclip.fetching.Fetcher`.
    """

    def __init__(
        self,
        hosts: Hosts,
        limits: Limits,
        *,
        resolver: AbstractResolver | None = None,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        # Where nothing is fetched, the start is a quarter shorter without it.
        from babelclip.fetching import Fetcher

        self._limits = limits
        self._fetcher = Fetcher(
            hosts,
            seconds=limits.seconds,
            max_bytes=limits.image_bytes,
            resolver=resolver,
            trusted=trusted,
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._fetcher.close()

    async def fetched(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items with each `ImageAddress` replaced by the bytes there, or by why there are none."""
        urls = list(dict.fromkeys(item.url for item in items if isinstance(item, ImageAddress)))
        if not urls:
            return items
        budget = _Budget(self._limits.request_bytes)
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(url: str) -> bytes | ItemError:
            async with turns:
                try:
                    return await self._fetcher.fetch(url, budget.spend)
                except NotFetched as refused:
                    return ItemError(0, refused.code, refused.message)

        kept = urls[: self._limits.images]
        async with asyncio.TaskGroup() as group:
            tasks = {url: group.create_task(one(url)) for url in kept}
        results: dict[str, Any] = {url: task.result() for url, task in tasks.items()}
        message = f"a request may name {self._limits.images} addresses of images"
        more = ItemError(0, INVALID_ITEM, message)
        return [results.get(item.url, more) if isinstance(item, ImageAddress) else item for item in items]


class _Budget:
    """The bytes that a request may still fetch."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            message = f"the images at the request's addresses may have {self._most:,} bytes together"
            raise NotFetched(message, IMAGE_TOO_MANY_BYTES)
