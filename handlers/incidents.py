"""Unexpected failures: a short id for the caller, and in the log the same id with where it happened.

The caller's content never reaches the log. The message of an exception may hold some of it (a KeyError, a
UnicodeDecodeError), so only those of RuntimeErrors, as torch raises them, and of memory errors are written,
which speak of shapes, devices and sizes.
"""

from __future__ import annotations

import logging
import traceback
import uuid

_log = logging.getLogger(__name__)


def log_incident(where: str, error: BaseException) -> str:
    """Log `error`, which happened in the stage `where`; → a sentence for the caller that holds the id."""
    incident = uuid.uuid4().hex[:12]
    detail = f": {error}" if isinstance(error, RuntimeError | MemoryError) else ""
    stack = "".join(traceback.format_tb(error.__traceback__))
    _log.error("incident %s in %s: %s%s\n%s", incident, where, type(error).__name__, detail, stack)
    return f"the server failed unexpectedly; its log has the details under the id {incident}"
