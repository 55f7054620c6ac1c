"""Vectors that last: rows with their sources, kept and searched by an engine that exists.

    from babelclip.index import open_index

    with open_index("photographs.index") as index:
        hits = index.search(client.embed_texts(["un chat noir"]), top=5)[0]

LanceDB keeps an index in a folder or in an object store, Milvus in its server or cluster; `Index` is what it
looks like from outside.
"""

from babelclip.index.base import (
    DETAILS,
    FIELD_TYPES,
    Hit,
    Index,
    IndexInfo,
    Row,
    Settings,
    row_id,
)
from babelclip.index.errors import (
    IndexBusy,
    IndexExists,
    IndexNotFound,
    InvalidFilter,
    SearchIndexError,
)
from babelclip.index.opening import (
    check_address,
    create_index,
    drop_index,
    is_index,
    open_index,
    place_of,
)

__all__ = [
    "DETAILS",
    "FIELD_TYPES",
    "Hit",
    "Index",
    "IndexBusy",
    "IndexExists",
    "IndexInfo",
    "IndexNotFound",
    "InvalidFilter",
    "Row",
    "SearchIndexError",
    "Settings",
    "check_address",
    "create_index",
    "drop_index",
    "is_index",
    "open_index",
    "place_of",
    "row_id",
]
