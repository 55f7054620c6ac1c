"""What callers are told when a request fails: a status, a word for programs, a sentence for people.

One exception for all calls; each way in puts it into its own form. What the engine says of itself (its
address, its token) is for the log and not for callers.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from babelclip import ItemError, errors
from babelclip.errors import (
    BabelclipError,
    DeadlineExceeded,
    ModelNotFound,
    RequestRefused,
    SpaceMismatch,
    Unavailable,
)

MALFORMED_REQUEST = errors.MALFORMED_REQUEST
INVALID_ITEM = errors.INVALID_ITEM
CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
MODEL_NOT_FOUND = "model_not_found"
UNAVAILABLE = "unavailable"
OVERLOADED = errors.OVERLOADED
INVALID_API_KEY = "invalid_api_key"
EXPIRED_API_KEY = "expired_api_key"
INSUFFICIENT_SCOPE = "insufficient_scope"
RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
COLLECTIONS_OFF = "collections_off"
COLLECTION_NOT_FOUND = "collection_not_found"
COLLECTION_EXISTS = "collection_exists"
ITEM_NOT_FOUND = "item_not_found"
JOB_NOT_FOUND = "job_not_found"
_NAMED = 5  # items at fault that a message names

# HTTP's status for an item's code where the request as a whole fails of it; docs/errors.md has the codes.
_ITEM_STATUS = {
    errors.TEXT_TOO_LONG: 413,
    "image_too_large": 413,
    errors.IMAGE_TOO_MANY_BYTES: 413,
    errors.OVERLOADED: 503,
    errors.DEADLINE_EXCEEDED: 504,
    "internal": 500,
}
_REFUSAL_STATUS = {
    errors.MESSAGE_TOO_LARGE: 413,
    "too_many_items": 413,
    "response_too_large": 413,
    errors.CANARY_MISMATCH: 503,
    "internal": 500,
}


class ApiError(Exception):
    """A request fails as a whole.

    Attributes:
        status: HTTP's; the gRPC service has its own for each.
        code: a word for programs.
        message: a sentence for people: what was wrong and what is allowed.
        param: the field at fault, where there is one.
        retry_after: seconds after which the same request may succeed; None where it will not.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after


def malformed(message: str, param: str | None = None) -> ApiError:
    """The request says what no request may say."""
    return ApiError(400, MALFORMED_REQUEST, message, param=param)


def item_status(code: str) -> int:
    """HTTP's status of an item's error; that of a wrong item unless the code says more."""
    return _ITEM_STATUS.get(code, 400)


def items_failed(errors: Mapping[str, ItemError], param: str | None) -> ApiError:
    """A request that has no place for the errors of its items fails with the first, and names them.

    Args:
        errors: at least one, by what the item is called: `input[3]`.
        param: the field that holds the items.
    """
    first = next(iter(errors.values()))
    named = "; ".join(f"{name}: {error.message}" for name, error in islice(errors.items(), _NAMED))
    more = f"; and {len(errors) - _NAMED} more" if len(errors) > _NAMED else ""
    status = item_status(first.code)
    return ApiError(status, first.code, named + more, param=param, retry_after=1 if status >= 503 else None)


def from_client(error: BabelclipError) -> ApiError:
    """What the engine's client raised → what the caller is told of it."""
    if isinstance(error, ModelNotFound):
        return ApiError(404, MODEL_NOT_FOUND, "the model is not served in this version", param="model")
    if isinstance(error, SpaceMismatch):
        message = "the model has just become one of another embedding space; embed again what you compare"
        return ApiError(409, errors.SPACE_MISMATCH, message, param="model")
    if isinstance(error, DeadlineExceeded):
        return ApiError(504, errors.DEADLINE_EXCEEDED, "the model gave no answer in time", retry_after=1)
    if isinstance(error, Unavailable):
        message = "the model is not ready, or has no room for more; try again"
        return ApiError(503, UNAVAILABLE, message, retry_after=1)
    if isinstance(error, RequestRefused):
        return ApiError(_REFUSAL_STATUS.get(error.code, 400), error.code, error.message)
    # The engine refused the gateway's token, or something else answers at its address: the operator's matter.
    return ApiError(503, UNAVAILABLE, "the model cannot be reached at the moment", retry_after=5)
