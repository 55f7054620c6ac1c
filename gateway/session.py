"""Whose request the present one is, as far as a share of the traffic is concerned."""

from __future__ import annotations

from contextvars import ContextVar

HEADER = "babelclip-session"
"""In HTTP's headers or gRPC's metadata: what a caller wants to be told apart by, such as its user."""

SESSION: ContextVar[str] = ContextVar("session", default="")
"""What the present request sent as `HEADER`, else the name of its key; "" where there is neither."""
