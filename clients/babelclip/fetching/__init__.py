"""Images by their address: from hosts that are named, and never from inside this network."""

from babelclip.fetching.fetcher import Fetcher, NotFetched
from babelclip.fetching.hosts import Hosts

__all__ = ["Fetcher", "Hosts", "NotFetched"]
