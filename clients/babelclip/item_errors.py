"""Why one item of a call has no vector."""

from __future__ import annotations

from dataclasses import dataclass

# Codes of items that the client itself turns away; all but the first two are the server's words too.
UNREADABLE_FILE = "unreadable_file"
UNREADABLE_FOLDER = "unreadable_folder"
INVALID_ITEM = "invalid_item"
INVALID_UTF8 = "invalid_utf8"
UNKNOWN_LANGUAGE = "unknown_language"
TEXT_TOO_LONG = "text_too_long"
IMAGE_UNDECODABLE = "image_undecodable"
IMAGE_TOO_MANY_BYTES = "image_too_many_bytes"
IMAGE_NOT_FETCHED = "image_not_fetched"

# The server had no time left for the item, or gave no answer in time: the two codes of an item that another
# attempt may change. A whole request that is `overloaded` is Unavailable.
OVERLOADED = "overloaded"
DEADLINE_EXCEEDED = "deadline_exceeded"


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
