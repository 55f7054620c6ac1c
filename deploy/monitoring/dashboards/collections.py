"""Collections: what is added and searched, how long it takes, and the jobs."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.monitoring.dashboards.panels import Query, board, graph, per_second, quantile, variable

_CALLS = 'call=~"(/v1/collections|Collections/).*"'
_MODEL = 'model=~"$model"'


def dashboard() -> Dashboard:
    """The dashboard of the index behind the gateway."""
    return board(
        "collections",
        "babelclip: collections",
        "Images that the gateway keeps: adding, searching, jobs.",
        [variable("model", "Model", "label_values(babelclip_gateway_model_ready, model)")],
        [("Calls", _calls()), ("Jobs and room", _jobs())],
    )


def _calls() -> list[Any]:
    requests = "babelclip_gateway_requests_total"
    return [
        graph(
            "Calls",
            "reqps",
            Query(per_second(f"{requests}{{{_CALLS}}}", "call"), "{{call}}"),
            about="Adding, searching, thumbnails, and the rest.",
        ),
        graph(
            "Seconds of a search",
            "s",
            *(
                Query(
                    quantile(
                        share,
                        'babelclip_gateway_request_seconds_bucket{call=~"/v1/collections/.*/(search|similar)|Collections/Search"}',
                    ),
                    f"p{share * 100:g}",
                    exemplar=share == 0.99,
                )
                for share in (0.5, 0.99)
            ),
            about="The query's vector, the index, and the rows of the hits.",
        ),
        graph(
            "Seconds of other calls",
            "s",
            Query(
                quantile(0.99, f"babelclip_gateway_request_seconds_bucket{{{_CALLS}}}", "call"),
                "{{call}} p99",
            ),
            about="By address.",
        ),
        graph(
            "Calls that failed",
            "reqps",
            Query(
                per_second(f'{requests}{{{_CALLS}, status!~"2..|304|OK"}}', "call, status"),
                "{{call}} {{status}}",
            ),
            about="404: no such collection or item. 409: another process is at the same change.",
        ),
        graph(
            "Images embedded",
            "ops",
            Query(
                per_second(f'babelclip_gateway_items_total{{{_MODEL}, tower="vision"}}', "outcome") + " > 0",
                "{{outcome}}",
            ),
            about="Of all calls, adding and imports included, by what came of them.",
        ),
    ]


def _jobs() -> list[Any]:
    return [
        graph(
            "Jobs under way",
            "short",
            Query("sum by (kind) (babelclip_gateway_jobs_in_progress)", "{{kind}}"),
            about="A process runs two at a time.",
        ),
        graph(
            "Jobs that ended",
            "short",
            Query("sum by (kind, state) (increase(babelclip_gateway_jobs_total[1h]))", "{{kind}} {{state}}"),
            about="Within an hour.",
        ),
        graph(
            "Room",
            "bytes",
            Query('babelclip_gateway_disk_free_bytes{folder="collections"}', "{{instance}}"),
            about="That is free where the collections are.",
        ),
    ]
