"""The error codes a caller can meet, and the two exceptions that carry them.

An `ItemError` costs one item of a request; a `RequestError` refuses a request as a whole. Neither ever
concerns another request of the same batch. docs/errors.md explains every code to callers.

    Exception
    └── CodedError
        ├── ItemError
        │   └── image_files.ImageError
        └── RequestError
"""

from __future__ import annotations

from typing import Self

EMPTY_ITEM = "empty_item"
INVALID_UTF8 = "invalid_utf8"
TEXT_TOO_LONG = "text_too_long"
IMAGE_UNDECODABLE = "image_undecodable"
IMAGE_TRUNCATED = "image_truncated"
IMAGE_TOO_LARGE = "image_too_large"
IMAGE_TOO_MANY_BYTES = "image_too_many_bytes"
WRONG_TOWER = "wrong_tower"
INVALID_ITEM = "invalid_item"
UNKNOWN_LANGUAGE = "unknown_language"

MALFORMED_REQUEST = "malformed_request"
SPACE_MISMATCH = "space_mismatch"
TOO_MANY_ITEMS = "too_many_items"
RESPONSE_TOO_LARGE = "response_too_large"
EMPTY_REQUEST = "empty_request"
UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
UNKNOWN_PATH = "unknown_path"
CANARY_MISMATCH = "canary_mismatch"

# Of an item or of a request.
OVERLOADED = "overloaded"
INTERNAL = "internal"

# All that an item, or a request, may fail of: what docs/errors.md lists, and what the metrics count from 0.
ITEM_CODES = (
    EMPTY_ITEM,
    INVALID_UTF8,
    TEXT_TOO_LONG,
    IMAGE_UNDECODABLE,
    IMAGE_TRUNCATED,
    IMAGE_TOO_LARGE,
    IMAGE_TOO_MANY_BYTES,
    WRONG_TOWER,
    INVALID_ITEM,
    UNKNOWN_LANGUAGE,
    OVERLOADED,
    INTERNAL,
)
REQUEST_CODES = (
    MALFORMED_REQUEST,
    EMPTY_REQUEST,
    SPACE_MISMATCH,
    TOO_MANY_ITEMS,
    RESPONSE_TOO_LARGE,
    OVERLOADED,
    UNSUPPORTED_MEDIA_TYPE,
    CANARY_MISMATCH,
    UNKNOWN_PATH,
    INTERNAL,
)

# The HTTP status of a request that is refused, or whose only raw item failed.
STATUS: dict[str, int] = {
    EMPTY_ITEM: 400,
    INVALID_UTF8: 400,
    IMAGE_UNDECODABLE: 400,
    IMAGE_TRUNCATED: 400,
    WRONG_TOWER: 400,
    INVALID_ITEM: 400,
    UNKNOWN_LANGUAGE: 400,
    MALFORMED_REQUEST: 400,
    EMPTY_REQUEST: 400,
    UNKNOWN_PATH: 404,
    SPACE_MISMATCH: 409,
    TEXT_TOO_LONG: 413,
    IMAGE_TOO_LARGE: 413,
    IMAGE_TOO_MANY_BYTES: 413,
    TOO_MANY_ITEMS: 413,
    RESPONSE_TOO_LARGE: 413,
    UNSUPPORTED_MEDIA_TYPE: 415,
    INTERNAL: 500,
    CANARY_MISMATCH: 503,
    OVERLOADED: 503,
}

# TorchServe wants a phrase beside each status.
PHRASE: dict[int, str] = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class CodedError(Exception):
    """A code for programs and a sentence for people, both safe to show to the caller."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def kept(self) -> Self:
        """This, fit to be kept as an outcome: without the traceback, nor those of its causes.

        The frames in a traceback hold all that the functions worked with, images of the whole batch too, and
        with them the exception itself: a cycle that only the garbage collector frees, which in a process with
        torch comes by seldom.
        """
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self

    @property
    def status(self) -> int:
        """The HTTP status that says the same as the code."""
        return STATUS[self.code]


class ItemError(CodedError):
    """One item cannot be embedded; the others of its request can."""


class RequestError(CodedError):
    """A request is refused as a whole."""
