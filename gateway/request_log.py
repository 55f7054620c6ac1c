"""One line of JSON for each request, in the log `gateway.requests`; and the ids by which requests are found.

    {"time": "2026-01-31T12:00:00.123Z", "id": "…", "key": "shop", "call": "/v1/embeddings", "model": "clip",
     "items": 2, "status": "200", "ms": 12.3}

A caller, or a proxy before the gateway, may send an id as `x-request-id`; it comes back with the answer.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

import orjson

HEADER = "x-request-id"
_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)
PROBES = frozenset({"/healthz", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""Asked every few seconds by whatever watches; a line is worth writing when they do not succeed."""
_log = logging.getLogger("gateway.requests")

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the present request, "" where none was taken over yet."""


def take_id(given: str) -> str:
    """The id of a request: the one that came with it if that is one, else a new one."""
    return given if _ID.fullmatch(given) else os.urandom(12).hex()


def set_up(*, enabled: bool) -> None:
    """Writes the lines as they are to the process's standard error, or not at all."""
    if not enabled:
        _log.setLevel(logging.WARNING)
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    _log.addHandler(handler)
    _log.propagate = False


def write(*, key: str, call: str, model: str, items: int, status: str, seconds: float) -> None:
    """The line of a request that has ended."""
    if not _log.isEnabledFor(logging.INFO) or (call in PROBES and status == "200"):
        return
    facts = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "id": REQUEST_ID.get(),
        "key": key,
        "call": call,
        "model": model,
        "items": items,
        "status": status,
        "ms": round(seconds * 1000, 1),
    }
    _log.info("%s", orjson.dumps(facts).decode())
