"""What can go wrong, as a tree; catch the branch you can do something about.

    BabelclipError
    ├── TransportError             no usable answer came back
    │   ├── Unavailable            nobody answered, or the server has no free worker
    │   └── DeadlineExceeded       items had no answer within the timeout
    ├── AuthenticationError        the token is missing, wrong, expired or unreadable
    ├── ModelNotFound              the server has no model of that name or version
    ├── RequestRefused             the server refused the request as a whole; see `code`
    ├── ItemErrors                 some items have no vector; the others do
    ├── SpaceMismatch              vectors of different embedding spaces would be mixed
    ├── ProtocolError              the answer is not one of babelclip's wire format
    └── RegistryError              a change of what is served was refused, or failed
        └── ManifestError          a model store's manifest is not valid, or its archives differ

No message holds a token.
"""

from __future__ import annotations

from collections.abc import Sequence

from babelclip.embeddings import Embeddings
from babelclip.item_errors import (
    DEADLINE_EXCEEDED,
    IMAGE_NOT_FETCHED,
    IMAGE_TOO_MANY_BYTES,
    IMAGE_UNDECODABLE,
    INVALID_ITEM,
    INVALID_UTF8,
    OVERLOADED,
    TEXT_TOO_LONG,
    UNKNOWN_LANGUAGE,
    UNREADABLE_FILE,
    UNREADABLE_FOLDER,
    ItemError,
)

__all__ = [
    "CANARY_MISMATCH",
    "DEADLINE_EXCEEDED",
    "IMAGE_NOT_FETCHED",
    "IMAGE_TOO_MANY_BYTES",
    "IMAGE_UNDECODABLE",
    "INVALID_ITEM",
    "INVALID_UTF8",
    "MALFORMED_REQUEST",
    "MESSAGE_TOO_LARGE",
    "OVERLOADED",
    "SPACE_MISMATCH",
    "TEXT_TOO_LONG",
    "UNKNOWN_LANGUAGE",
    "UNREADABLE_FILE",
    "UNREADABLE_FOLDER",
    "AuthenticationError",
    "BabelclipError",
    "DeadlineExceeded",
    "ItemError",
    "ItemErrors",
    "ManifestError",
    "ModelNotFound",
    "ProtocolError",
    "RegistryError",
    "RequestRefused",
    "SpaceMismatch",
    "TransportError",
    "Unavailable",
]

# Codes of requests. A proxy or TorchServe itself turns a message away before a tower can name its code.
SPACE_MISMATCH = "space_mismatch"
CANARY_MISMATCH = "canary_mismatch"
MESSAGE_TOO_LARGE = "message_too_large"
MALFORMED_REQUEST = "malformed_request"


class BabelclipError(Exception):
    """Everything this package raises on purpose, except ValueError and TypeError for wrong arguments."""


class TransportError(BabelclipError):
    """No usable answer came back.

    `embeddings` is what `embed_texts` or `embed_images` had received before, the first items of the call or
    all of them, in their places; None where another call raised it.
    """

    embeddings: Embeddings | None = None


class Unavailable(TransportError):
    """Nobody answered, or the server had no free worker.

    `retryable` is False where trying again could do harm: a request that was being computed when the
    worker died may be what killed it.
    """

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class DeadlineExceeded(TransportError):
    """Items had no answer within the timeout, though sent alone. The server may still be computing them."""


class AuthenticationError(BabelclipError):
    """The server refused the token, or the token file cannot be read."""


class ModelNotFound(BabelclipError):
    """The server has no model of that name, or not in that version."""


class RequestRefused(BabelclipError):
    """The server refused the request as a whole; no item of it was embedded."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        # Python would make it anew from its text alone, fail, and break the pool of processes it came from.
        return type(self), (self.code, self.message)


class ItemErrors(BabelclipError):
    """Some items have no vector. `embeddings` holds the vectors of the others, in their places."""

    def __init__(self, errors: Sequence[ItemError], embeddings: Embeddings) -> None:
        first, rest = errors[0], len(errors) - 1
        super().__init__(f"{first}{f' (and {rest} more)' if rest else ''}")
        self.errors = tuple(errors)
        self.embeddings = embeddings

    def __reduce__(self) -> tuple[type, tuple[Sequence[ItemError], Embeddings]]:
        return type(self), (self.errors, self.embeddings)


class SpaceMismatch(BabelclipError):
    """Vectors of two embedding spaces would be compared or mixed; their cosines mean nothing."""


class ProtocolError(BabelclipError):
    """The answer is not one of babelclip's wire format: something else answers at this address."""


class RegistryError(BabelclipError):
    """A change of what a server serves was refused, or failed; the message says what the state is now."""


class ManifestError(RegistryError, ValueError):
    """A folder is no model store: its manifest is missing or not valid, or an archive is another one.

    It is a ValueError too, because most often the argument that names the folder is wrong.
    """
