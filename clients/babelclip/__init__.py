"""babelclip: multilingual CLIP embeddings, texts and images in one vector space, from a babelclip server.

    from babelclip import Client

    with Client("http://127.0.0.1:8080") as client:
        cosines = client.similarity(["a red heart", "un chat"], ["heart.png", "cat.jpg"])  # [2, 2]

`Client` talks to the server, or with the address `mar:model_store` runs a model in this process;
`AsyncClient` is the same for an event loop. What comes back are `Embeddings`; what can go wrong is in
`babelclip.errors`. `generate_embeddings` embeds a folder of images once, and `MultiLingualSearch` ranks them
for any text; `Searcher` searches an index of `babelclip.index`, and `CollectionClient` what a gateway keeps.
"""

from typing import TYPE_CHECKING, Any

from babelclip.client.items import ImageInput
from babelclip.client.retry import Backoff
from babelclip.client.sync import Client
from babelclip.embeddings import Embeddings
from babelclip.errors import (
    AuthenticationError,
    BabelclipError,
    DeadlineExceeded,
    ItemErrors,
    ManifestError,
    ModelNotFound,
    ProtocolError,
    RegistryError,
    RequestRefused,
    SpaceMismatch,
    TransportError,
    Unavailable,
)
from babelclip.item_errors import ItemError
from babelclip.search.calibration import Calibration, calibrate, read_calibration
from babelclip.search.classify import Classification, Classifier
from babelclip.search.collection import Collection, generate_embeddings
from babelclip.search.head import ClassifierHead, read_head
from babelclip.search.query import Results, SearchHit, Term, parse_query
from babelclip.search.ranking import MultiLingualSearch
from babelclip.search.relevance import SearchCalibration, read_search_calibration
from babelclip.search.searcher import Searcher
from babelclip.shadow.traffic_split import TrafficSplit
from babelclip.similarity import concatenate, similarity
from babelclip.transports.base import AsyncTransport, Call, Tls, Transport

if TYPE_CHECKING:
    from babelclip.client.asynchronous import AsyncClient
    from babelclip.collections import AsyncCollectionClient, CollectionClient
    from babelclip.versions.registry import Registry

__all__ = [
    "Answer",
    "AsyncClient",
    "AsyncCollectionClient",
    "AsyncTransport",
    "AuthenticationError",
    "BabelclipError",
    "Backoff",
    "Calibration",
    "Call",
    "Canary",
    "Classification",
    "Classifier",
    "ClassifierHead",
    "Client",
    "Collection",
    "CollectionClient",
    "DeadlineExceeded",
    "Embeddings",
    "ImageInput",
    "ItemError",
    "ItemErrors",
    "ManifestError",
    "ModelNotFound",
    "MultiLingualSearch",
    "ProtocolError",
    "Registry",
    "RegistryError",
    "RequestRefused",
    "Results",
    "SearchCalibration",
    "SearchHit",
    "Searcher",
    "Shadow",
    "SpaceMismatch",
    "Term",
    "Tls",
    "TrafficSplit",
    "Transport",
    "TransportError",
    "Unavailable",
    "calibrate",
    "concatenate",
    "generate_embeddings",
    "parse_query",
    "read_calibration",
    "read_head",
    "read_search_calibration",
    "similarity",
]

# Their names of before, for one release.
Answer = Classification
Canary = TrafficSplit


def __getattr__(name: str) -> Any:
    """What costs more to import than most programs should pay comes with its first use."""
    if name == "AsyncClient":
        from babelclip.client.asynchronous import AsyncClient

        return AsyncClient
    if name in ("AsyncCollectionClient", "CollectionClient"):
        from babelclip import collections

        return getattr(collections, name)
    if name == "Shadow":
        from babelclip.shadow.shadow import Shadow

        return Shadow
    if name == "Registry":
        from babelclip.versions.registry import Registry

        return Registry
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
