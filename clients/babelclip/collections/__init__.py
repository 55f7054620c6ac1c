"""A client of the collections that a gateway keeps: images are added, searched and labelled over HTTP.

    with CollectionClient("http://127.0.0.1:8000", "photographs", token="bck_…") as photographs:
        for hit in photographs.search("plage -gens", top=5).hits:
            print(hit.id, hit.score, hit.caption)

`AsyncCollectionClient` is the same for an event loop.
"""

from babelclip.collections.asynchronous import AsyncCollectionClient
from babelclip.collections.messages import (
    AddOutcome,
    CollectionHit,
    CollectionInfo,
    CollectionItem,
    CollectionResults,
    Content,
    ItemLabel,
    ItemPage,
    Job,
    NewItem,
)
from babelclip.collections.sync import CollectionClient

__all__ = [
    "AddOutcome",
    "AsyncCollectionClient",
    "CollectionClient",
    "CollectionHit",
    "CollectionInfo",
    "CollectionItem",
    "CollectionResults",
    "Content",
    "ItemLabel",
    "ItemPage",
    "Job",
    "NewItem",
]
