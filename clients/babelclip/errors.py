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
        └── ManifestError          the model store's manifest is none, or its archives are others

No message holds a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from babelclip.embeddings import Embeddings

# Codes of items that the client itself turns away; all but the first two are the server's words too.
UNREADABLE_FILE = "unreadable_file"
UNREADABLE_FOLDER = "unreadable_folder"
INVALID_ITEM = "invalid_item"
INVALID_UTF8 = "invalid_utf8"
TEXT_TOO_LONG = "text_too_long"
IMAGE_UNDECODABLE = "image_undecodable"
IMAGE_TOO_MANY_BYTES = "image_too_many_bytes"

# The server had no time left for the item, or gave no answer in time: the two codes of an item that another
# attempt may change. A whole request that is `overloaded` is Unavailable.
OVERLOADED = "overloaded"
DEADLINE_EXCEEDED = "deadline_exceeded"

# Codes of requests. A proxy or TorchServe itself turns a message away before a tower can name its code.
SPACE_MISMATCH = "space_mismatch"
CANARY_MISMATCH = "canary_mismatch"
MESSAGE_TOO_LARGE = "message_too_large"
MALFORMED_REQUEST = "malformed_request"


def too_many_bytes(tower: str) -> str:
    """The code of an item that is larger than anything the tower can be sent."""
    return TEXT_TOO_LONG if tower == "text" else IMAGE_TOO_MANY_BYTES


@dataclass(frozen=True)
class ItemError:
    """Why one item has no vector: its position in the call, a word for programs, a sentence for people."""

    index: int
    code: str
    message: str

    @property
    def retryable(self) -> bool:
        """Whether the same item may succeed later: it is the server that was too busy, or too slow."""
        return self.code in (OVERLOADED, DEADLINE_EXCEEDED)

    def __str__(self) -> str:
        return f"item {self.index}: {self.code}: {self.message}"


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
    """A change of what a server serves was refused, or failed; the message says how things stand."""


class ManifestError(RegistryError, ValueError):
    """A folder is no model store: its manifest is missing or none, or an archive is not the one it names.

    It is a ValueError too, because most often the argument that names the folder is wrong.
    """
