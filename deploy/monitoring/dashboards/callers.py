"""Who calls, how much of it, and what they are refused."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.monitoring.dashboards.panels import Query, board, graph, per_second, quantile, variable

_KEY = 'key=~"$key"'
_ERRORS = 'status=~"5..|INTERNAL|UNKNOWN|UNAVAILABLE|DEADLINE_EXCEEDED"'
_MISTAKES = 'status=~"4..|INVALID_ARGUMENT|UNAUTHENTICATED|PERMISSION_DENIED|NOT_FOUND|FAILED_PRECONDITION"'


def dashboard() -> Dashboard:
    """The dashboard of the callers' keys."""
    return board(
        "callers",
        "babelclip: callers",
        "Keys: what each asks, gets and is refused.",
        [variable("key", "Key", "label_values(babelclip_gateway_refusals_total, key)")],
        [("Keys", _panels())],
    )


def _panels() -> list[Any]:
    requests = "babelclip_gateway_requests_total"
    calls = per_second(f"{requests}{{{_KEY}}}", "key")
    errors = per_second(f"{requests}{{{_KEY}, {_ERRORS}}}", "key")
    return [
        graph(
            "Calls by key",
            "reqps",
            Query(calls, "{{key}}"),
            about="The largest callers.",
        ),
        graph(
            "Calls by key and address",
            "reqps",
            Query(f"topk(10, {per_second(f'{requests}{{{_KEY}}}', 'key, call')})", "{{key}} {{call}}"),
            about="The ten largest.",
        ),
        graph(
            "Calls by key and model",
            "reqps",
            Query(per_second(f'{requests}{{{_KEY}, model!=""}}', "key, model"), "{{key}} {{model}}"),
            about="Of the calls that name a model, or take the default one.",
        ),
        graph(
            "Mistakes of callers",
            "reqps",
            Query(per_second(f"{requests}{{{_KEY}, {_MISTAKES}}}", "key, status"), "{{key}} {{status}}"),
            about="401: no key, or one that is over. 429: a limit, or overload.",
        ),
        graph(
            "Errors of ours",
            "percentunit",
            Query(
                f"({errors} or 0 * {calls}) / {calls}",
                "{{key}}",
            ),
            about="Share of a key's calls that ended in an error of ours.",
        ),
        graph(
            "Refusals",
            "reqps",
            Query(
                per_second(f"babelclip_gateway_refusals_total{{{_KEY}}}", "key, limit"), "{{key}} {{limit}}"
            ),
            about="By the limit of the key, or `overloaded`.",
        ),
        graph(
            "Wait for a turn",
            "s",
            Query(quantile(0.99, f"babelclip_gateway_wait_seconds_bucket{{{_KEY}}}", "key"), "{{key}} p99"),
            about="Of the requests that had to wait. Turns are fair between keys.",
        ),
        graph(
            "Until a key expires",
            "s",
            Query(
                f"min by (key) (babelclip_gateway_key_expiry_timestamp_seconds{{{_KEY}}}) - time()", "{{key}}"
            ),
            about="Of the keys that expire.",
        ),
    ]
