"""Images by their address: from hosts that are named, and never from inside this network."""

from typing import TYPE_CHECKING, Any

from babelclip.fetching.errors import NotFetched
from babelclip.fetching.hosts import Hosts

if TYPE_CHECKING:
    from babelclip.fetching.fetcher import Fetcher

__all__ = ["Fetcher", "Hosts", "NotFetched"]


def __getattr__(name: str) -> Any:
    """aiohttp takes a quarter of a second to import: it comes with the first use of what needs it."""
    if name == "Fetcher":
        from babelclip.fetching.fetcher import Fetcher

        return Fetcher
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
