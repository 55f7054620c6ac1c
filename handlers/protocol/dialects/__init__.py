"""The forms in which a tower is called, one module and one class each.

A new dialect is a new module, and a line in `DIALECTS`.
"""

from __future__ import annotations

from handlers.protocol.dialects.base import Dialect
from handlers.protocol.dialects.health import Health
from handlers.protocol.dialects.kserve import KServe
from handlers.protocol.dialects.native import Native
from handlers.protocol.dialects.openai import OpenAI
from handlers.protocol.envelope import Envelope

# The first that matches a request reads and answers it; the native one takes what no other does.
DIALECTS: tuple[Dialect, ...] = (Health(), OpenAI(), KServe(), Native())


def dialect_of(envelope: Envelope) -> Dialect:
    """The dialect of a request."""
    for dialect in DIALECTS:
        if dialect.matches(envelope):
            return dialect
    raise LookupError("no dialect takes the request")
