"""All that may come of items, calls and checks, as docs/errors.md and docs/gateway.md list it.

The metrics count each from 0: Prometheus sees no increase where a series begins, and would miss the first
failure of a kind.
"""

from __future__ import annotations

from babelclip.errors import BabelclipError
from gateway.errors import from_client
from gateway.towers.base import ModelVersion

OK = "ok"
FAILED = "failed"
ITEM_CODES = (
    "empty_item",
    "invalid_utf8",
    "text_too_long",
    "image_undecodable",
    "image_truncated",
    "image_too_large",
    "image_too_many_bytes",
    "image_not_fetched",
    "wrong_tower",
    "invalid_item",
    "unknown_language",
    "overloaded",
    "deadline_exceeded",
    "internal",
)
LIMITS = ("requests", "items", "bytes", "concurrent_items", "overloaded")
"""What a key, or a tower, may have too much of."""
STATUSES = (
    *("200", "201", "202", "204", "206", "304"),
    *("400", "401", "403", "404", "405", "408", "409", "413", "415", "416", "421", "429", "499"),
    *("500", "503", "504"),
    *("OK", "CANCELLED", "INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND"),
    *("FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "UNKNOWN"),
    *("INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED"),
)
"""HTTP's numbers and gRPC's names."""
ERRORS = frozenset({"500", "503", "504", "INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED"})
"""Those of them that are ours to mend, and no fault of the caller's."""
CHECKS = (OK, "canary_mismatch", "space_mismatch", "model_not_found", "unavailable", "deadline_exceeded")
"""What comes of asking a model for its golden items."""


def of_check(found: ModelVersion | BabelclipError) -> str:
    """What has come of a check: one of `CHECKS`, or another code with which the engine refused it."""
    return OK if isinstance(found, ModelVersion) else from_client(found).code
