"""babelclip: multilingual CLIP embeddings, texts and images in one vector space, from a babelclip server.

    from babelclip import Client

    with Client("http://127.0.0.1:8080") as client:
        cosines = client.similarity(["a red heart", "un chat"], ["heart.png", "cat.jpg"])  # [2, 2]

`Client` talks to the server, `Embeddings` is what comes back, `babelclip.errors` what can go wrong.
"""

from babelclip.client import Client
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
from babelclip.transport import Call, Transport

__all__ = [
    "AuthenticationError",
    "BabelclipError",
    "Backoff",
    "Call",
    "Client",
    "DeadlineExceeded",
    "Embeddings",
    "ImageInput",
    "ItemError",
    "ItemErrors",
    "ModelNotFound",
    "ProtocolError",
    "RequestRefused",
    "SpaceMismatch",
    "Transport",
    "TransportError",
    "Unavailable",
    "similarity",
]
