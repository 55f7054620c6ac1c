"""What callers get: answers, errors, times, versions; and the processes of the gateway."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.monitoring.dashboards.panels import Query, board, graph, number, per_second, quantile, variable

_MODEL = 'model=~"$model"'
_SECONDS = 'babelclip_gateway_request_seconds_bucket{call!~"/readyz|/livez|/healthz|/v2/health/.*"}'
_ALLOWED_ERRORS = 0.001
_JOB = 'job="babelclip-gateway"'


def dashboard() -> Dashboard:
    """The dashboard to look at first."""
    return board(
        "service",
        "babelclip: service",
        "What callers of the gateway get.",
        [variable("model", "Model", "label_values(babelclip_gateway_model_ready, model)")],
        [
            ("Now", _now()),
            ("Answers", _answers()),
            ("Load", _load()),
            ("Versions", _versions()),
            _processes(),
        ],
    )


def _now() -> list[Any]:
    errors = "job:babelclip_gateway_errors:ratio_rate"
    budget = f"1 - max({errors}3d) / {_ALLOWED_ERRORS}"
    return [
        number(
            "Ready",
            "short",
            Query(f"min(babelclip_gateway_model_ready{{{_MODEL}}})", "ready"),
            about="1 while both towers of every model give their golden items, to every process.",
            good=1,
        ),
        number(
            "Answers",
            "reqps",
            Query(per_second("babelclip_gateway_answers_total"), "answers"),
            about="Calls a second that have ended, without probes of health.",
        ),
        number(
            "Free of errors",
            "percentunit",
            Query(f"1 - max({errors}5m)", "5 minutes"),
            about="Share of the answers of five minutes that are no errors of ours. The target is 99.9 %.",
            good=1 - _ALLOWED_ERRORS,
        ),
        number(
            "Budget left",
            "percentunit",
            Query(budget, "3 days"),
            about="What three days have left of the errors that are allowed. Below 0 they were too many.",
            good=0,
        ),
        number(
            "99th percentile",
            "s",
            Query(quantile(0.99, _SECONDS), "p99"),
            about="Seconds that 99 of 100 calls take at most.",
        ),
        number(
            "Items",
            "ops",
            Query(per_second(f'babelclip_gateway_items_total{{{_MODEL}, outcome="ok"}}'), "items"),
            about="Texts and images a second that have a vector.",
        ),
    ]


def _answers() -> list[Any]:
    return [
        graph(
            "Answers by status",
            "reqps",
            Query(per_second("babelclip_gateway_answers_total", "status") + " > 0", "{{status}}"),
            about="HTTP's numbers and gRPC's names. 499 and CANCELLED: the caller hung up.",
            stacked=True,
        ),
        graph(
            "Seconds of a call",
            "s",
            *(
                Query(quantile(share, _SECONDS), f"p{share * 100:g}", exemplar=share == 0.99)
                for share in (0.5, 0.95, 0.99)
            ),
            about="From the head of a call to its answer. The points are traces.",
        ),
        graph(
            "Error budget burn",
            "short",
            *(
                Query(f"max(job:babelclip_gateway_errors:ratio_rate{window}) / {_ALLOWED_ERRORS}", window)
                for window in ("5m", "1h", "6h")
            ),
            about="How many times faster than allowed errors come. 14.4 for an hour wakes somebody.",
        ),
        graph(
            "Calls",
            "reqps",
            Query(per_second("babelclip_gateway_requests_total", "call"), "{{call}}"),
            about="By address, or by the name of the gRPC call.",
        ),
        graph(
            "Items that failed",
            "ops",
            Query(
                per_second(f'babelclip_gateway_items_total{{{_MODEL}, outcome!="ok"}}', "outcome") + " > 0",
                "{{outcome}}",
            ),
            about="By their codes, which docs/errors.md explains. `internal` is ours.",
        ),
        graph(
            "Slow calls",
            "percentunit",
            *(
                Query(f"max(job:babelclip_gateway_slow:ratio_rate{window})", window)
                for window in ("5m", "1h")
            ),
            about="Share of the calls that people wait for which took more than a second. 1 % may.",
        ),
    ]


def _load() -> list[Any]:
    return [
        graph(
            "Texts and images",
            "ops",
            Query(
                per_second(f'babelclip_gateway_items_total{{{_MODEL}, tower!="", outcome="ok"}}', "tower"),
                "{{tower}}",
            ),
            about="Items a second that have a vector, from the cache too.",
        ),
        graph(
            "Items under way",
            "short",
            Query(f"sum by (tower) (babelclip_gateway_tower_items{{{_MODEL}}})", "{{tower}}: at the tower"),
            Query(f"sum by (tower) (babelclip_gateway_waiting_items{{{_MODEL}}})", "{{tower}}: waiting"),
            about="What the towers have, and what waits for its turn. When much waits, requests are refused.",
        ),
        graph(
            "Refusals",
            "reqps",
            Query(per_second("babelclip_gateway_refusals_total", "limit"), "{{limit}}"),
            about="`overloaded`: the towers have too much to do. The others are limits of keys.",
        ),
        graph(
            "Wait for a turn",
            "s",
            *(
                Query(quantile(share, "babelclip_gateway_wait_seconds_bucket"), f"p{share * 100:g}")
                for share in (0.5, 0.99)
            ),
            about="Of the requests that had to wait.",
        ),
        graph(
            "Known to the cache",
            "percentunit",
            Query(
                per_second(f'babelclip_gateway_cache_items_total{{{_MODEL}, result!="miss"}}', "tower")
                + " / "
                + per_second(f"babelclip_gateway_cache_items_total{{{_MODEL}}}", "tower"),
                "{{tower}}",
            ),
            about="Share of the items whose vectors were there. Nothing where cache_mb is 0.",
        ),
        graph(
            "Cache",
            "bytes",
            Query("sum(babelclip_gateway_cache_bytes)", "all processes"),
            about="Memory that vectors take.",
        ),
    ]


def _versions() -> list[Any]:
    return [
        graph(
            "Items by version",
            "ops",
            Query(
                per_second(f"babelclip_gateway_version_items_total{{{_MODEL}}}", "model, version, outcome"),
                "{{model}}@{{version}} {{outcome}}",
            ),
            about="A promotion, and a canary's share, show here.",
        ),
        graph(
            "Replicas by default version",
            "short",
            Query(
                f"count by (model, version, space) (babelclip_gateway_model_info{{{_MODEL}}})",
                "{{model}}@{{version}} {{space}}",
            ),
            about="More than one line of a model for long: replicas do not agree.",
        ),
        graph(
            "Golden items",
            "ops",
            Query(
                per_second(f"babelclip_gateway_self_tests_total{{{_MODEL}}}", "model, outcome"),
                "{{model}}: {{outcome}}",
            ),
            about="What came of asking both towers for their golden items. `canary_mismatch`: wrong vectors.",
        ),
        graph(
            "In the shadow",
            "ops",
            Query(per_second(f"babelclip_gateway_shadow_items_total{{{_MODEL}}}", "outcome"), "{{outcome}}"),
            about="What a candidate computed beside what answers. docs/versions.md explains the outcomes.",
        ),
    ]


def _processes() -> tuple[str, list[Any]]:
    panels: list[Any] = [
        graph(
            "Memory",
            "bytes",
            Query(f"process_resident_memory_bytes{{{_JOB}}}", "{{instance}} {{worker}}"),
            about="Of each process of the gateway, the cache included.",
        ),
        graph(
            "Processors",
            "short",
            Query(f"rate(process_cpu_seconds_total{{{_JOB}}}[$__rate_interval])", "{{instance}} {{worker}}"),
            about="Cores that each process of the gateway keeps busy; one at most, so add workers near 1.",
        ),
        graph(
            "Disk",
            "percentunit",
            Query(
                "babelclip_gateway_disk_free_bytes / babelclip_gateway_disk_size_bytes",
                "{{instance}} {{folder}}",
            ),
            about="Share that is free where the gateway writes.",
        ),
    ]
    return "Processes", panels
