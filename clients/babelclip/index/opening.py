"""Where an index is: an address, and the engine that it names.

photographs.index, /data/photographs, s3://bucket/photographs    LanceDB: a folder, or an object store
milvus://host:19530/photographs, milvus:photographs.db           Milvus: a server, or a file of milvus-lite
"""

from __future__ import annotations

import os

from babelclip.index.base import Index, Settings
from babelclip.index.lance import LanceIndex


def create_index(address: str | os.PathLike[str], settings: Settings) -> Index:
    """A new, empty index whose first generation has these settings.

    Raises:
        IndexExists: there is one.
        ValueError: settings or address cannot be used.
        SearchIndexError: the engine cannot be reached, or is not installed.
    """
    return LanceIndex.create(os.fspath(address), settings)


def open_index(address: str | os.PathLike[str], *, generation: str | None = None) -> Index:
    """The index at an address: its current generation, whichever that is at each call, or the one named.

    Raises:
        IndexNotFound: there is none, or no generation of that name.
        SearchIndexError: the engine cannot be reached, or is not installed.
    """
    return LanceIndex.open(os.fspath(address), generation=generation)
