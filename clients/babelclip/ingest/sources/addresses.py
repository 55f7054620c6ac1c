"""Images that a list names by their address on the Web, read from hosts that somebody allowed."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from babelclip.client.calls import LARGEST_MESSAGE
from babelclip.errors import IMAGE_NOT_FETCHED, INVALID_ITEM
from babelclip.index import event_loop
from babelclip.ingest.sources.base import EntryUnreadable

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

    from babelclip.fetching import Fetcher, Hosts

SECONDS = 30.0
_SCHEMES = ("http://", "https://")


def is_web_address(source: str) -> bool:
    """Whether the source of a row is on the Web."""
    return source.startswith(_SCHEMES)


def not_allowed(address: str) -> bytes:
    """What reads an address where nothing is to be fetched.

    Raises:
        EntryUnreadable: always.
    """
    raise EntryUnreadable(IMAGE_NOT_FETCHED, "an address is not an image, and nothing is fetched here")


class AddressReader:
    """Fetches images from hosts of a list, and from public addresses alone; may be used by many threads.

        with AddressReader(["images.example.org"]) as read:
            add(index, client, TableSource(Path("list.csv"), fetch=read))

    Args:
        hosts: `HOST`, `HOST:PORT`, `*.HOST`, or `*` for all.
        seconds: for an image.
        resolver, trusted: as of `babelclip.fetching.Fetcher`.

    Raises:
        ValueError: an entry is no host.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        seconds: float = SECONDS,
        resolver: AbstractResolver | None = None,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        from babelclip.fetching import Hosts

        self._fetcher = event_loop.run(_made(Hosts(hosts), seconds, resolver, trusted))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        event_loop.run(self._fetcher.close())

    def __call__(self, address: str) -> bytes:
        """The encoded image at an address.

        Raises:
            EntryUnreadable: it may not be asked, or gave no image.
        """
        from babelclip.fetching import NotFetched

        try:
            return event_loop.run(self._fetcher.fetch(address))
        except NotFetched as error:
            # A host that nobody named today may be named tomorrow: no fault of the list, and tried again.
            code = IMAGE_NOT_FETCHED if error.code == INVALID_ITEM else error.code
            raise EntryUnreadable(code, error.message) from error


async def _made(
    hosts: Hosts, seconds: float, resolver: AbstractResolver | None, trusted: ssl.SSLContext | None
) -> Fetcher:
    from babelclip.fetching import Fetcher

    return Fetcher(hosts, seconds=seconds, max_bytes=LARGEST_MESSAGE, resolver=resolver, trusted=trusted)
