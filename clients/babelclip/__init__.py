"""babelclip: multilingual CLIP embeddings, texts and images in one vector space, from a babelclip server.

    from babelclip import Client

    with Client("http://127.0.0.1:8080") as client:
        cosines = client.similarity(["a red heart", "un chat"], ["heart.png", "cat.jpg"])  # [2, 2]

`Client` talks to the server, or with the address `mar:model_store` runs a model in this process. What comes
back are `Embeddings`; what can go wrong is in `babelclip.errors`. `generate_embeddings` embeds a folder of
images once, and `MultiLingualSearch` ranks them for any text.
"""

from babelclip.client import Client
from babelclip.collection import Collection, generate_embeddings
from babelclip.embeddings import Embeddings, similarity
from babelclip.errors import (
    AuthenticationError,
    BabelclipError,
    DeadlineExceeded,
    ItemError,
    ItemErrors,
    ModelNotFound,
    ProtocolError,
    RequestRefused,
    SpaceMismatch,
    TransportError,
    Unavailable,
)
from babelclip.items import ImageInput
from babelclip.retry import Backoff
from babelclip.search import MultiLingualSearch
from babelclip.transport import Call, Transport

__all__ = [
    "AuthenticationError",
    "BabelclipError",
    "Backoff",
    "Call",
    "Client",
    "Collection",
    "DeadlineExceeded",
    "Embeddings",
    "ImageInput",
    "ItemError",
    "ItemErrors",
    "ModelNotFound",
    "MultiLingualSearch",
    "ProtocolError",
    "RequestRefused",
    "SpaceMismatch",
    "Transport",
    "TransportError",
    "Unavailable",
    "generate_embeddings",
    "similarity",
]
