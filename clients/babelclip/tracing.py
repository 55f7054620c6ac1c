"""Trace context for the server's logs and proxies; needs the package opentelemetry-api.

    client = Client(url, headers=trace_headers)

Every request then carries the context of the span that its call was made in, as W3C's `traceparent`.
"""

from __future__ import annotations


def trace_headers() -> dict[str, str]:
    """The headers of the current span; none outside of one."""
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier
