"""What computes: the workers of both towers, where their time goes, and their queues."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.monitoring.dashboards.panels import Query, board, graph, per_second, quantile, variable

_WHICH = 'tower=~"$tower", version=~"$version"'


def dashboard() -> Dashboard:
    """The dashboard of the towers."""
    return board(
        "towers",
        "babelclip: towers",
        "What the workers of TorchServe do.",
        [
            variable("tower", "Tower", "label_values(babelclip_items_total, tower)"),
            variable("version", "Version", "label_values(babelclip_items_total, version)"),
        ],
        [("Items", _items()), ("Time", _time()), ("Batches", _batches()), ("Workers", _workers())],
    )


def _ratio(above: str, below: str) -> str:
    return f"{per_second(above, 'tower')} / {per_second(below, 'tower')}"


def _items() -> list[Any]:
    return [
        graph(
            "Embedded",
            "ops",
            Query(
                per_second(f'babelclip_items_total{{{_WHICH}, code="ok"}}', "tower, version"),
                "{{tower}} {{version}}",
            ),
            about="Items a second that have a vector; those of a cache do not come here.",
        ),
        graph(
            "Failed",
            "ops",
            Query(
                per_second(f'babelclip_items_total{{{_WHICH}, code!="ok"}}', "tower, code") + " > 0",
                "{{tower}}: {{code}}",
            ),
            about="By their codes. `internal` is ours; `overloaded` means that a batch took too long.",
        ),
        graph(
            "Requests",
            "reqps",
            Query(
                per_second(f"babelclip_requests_total{{{_WHICH}}}", "tower, transport, code") + " > 0",
                "{{tower}} {{transport}} {{code}}",
            ),
            about="Messages to a tower, those of the gateway and of probes included.",
        ),
        graph(
            "Cut and unknown texts",
            "ops",
            Query(per_second(f"babelclip_flagged_items_total{{{_WHICH}}}", "flag"), "{{flag}}"),
            about="Texts of too many tokens, and texts in letters that the model does not know.",
        ),
    ]


def _time() -> list[Any]:
    return [
        graph(
            "Where the time goes",
            "percentunit",
            Query(
                f"sum by (tower, stage) (rate(babelclip_stage_seconds_sum{{{_WHICH}}}[$__rate_interval]))"
                " / on (tower) group_left "
                f"sum by (tower) (rate(babelclip_stage_seconds_sum{{{_WHICH}}}[$__rate_interval]))",
                "{{tower}}: {{stage}}",
            ),
            about="Shares of the workers' time. `idle`: nobody asks. `decode`: waiting for images.",
            wide=True,
        ),
        graph(
            "Forward pass of a batch",
            "s",
            *(
                Query(
                    quantile(share, f'babelclip_stage_seconds_bucket{{{_WHICH}, stage="forward"}}', "tower"),
                    f"{{{{tower}}}} p{share * 100:g}",
                )
                for share in (0.5, 0.99)
            ),
            about="Seconds that a batch is in the tower.",
        ),
        graph(
            "Cores that decode",
            "short",
            Query(per_second(f"babelclip_decode_cpu_seconds_total{{{_WHICH}}}"), "cores"),
            about="Also while the tower computes. Near decode_threads: they are the limit.",
        ),
        graph(
            "Decoding of an image",
            "s",
            Query(
                f"{per_second(f'babelclip_decode_cpu_seconds_total{{{_WHICH}}}')} / "
                + per_second(f'babelclip_rows_total{{{_WHICH}, tower="vision", use="item"}}'),
                "CPU seconds",
            ),
            about="Large images, PNG and progressive JPEG take most.",
        ),
        graph(
            "Wait for a batch",
            "ms",
            Query(
                "sum(rate(torchserve_queue_time_milliseconds_sum[$__rate_interval]))"
                " / sum(rate(torchserve_queue_time_milliseconds_count[$__rate_interval]))",
                "mean",
            ),
            about="Of a request in TorchServe, both towers together.",
        ),
    ]


def _batches() -> list[Any]:
    return [
        graph(
            "Items of a batch",
            "short",
            Query(
                _ratio(f"babelclip_batch_items_sum{{{_WHICH}}}", f"babelclip_batch_items_count{{{_WHICH}}}"),
                "{{tower}}",
            ),
            about="The mean. Near 1: batching finds nothing to put together.",
        ),
        graph(
            "How full passes are",
            "percentunit",
            Query(
                _ratio(f'babelclip_rows_total{{{_WHICH}, use="item"}}', f"babelclip_rows_total{{{_WHICH}}}"),
                "{{tower}}",
            ),
            about="Items of the places that forward passes had.",
        ),
        graph(
            "Padding",
            "percentunit",
            Query(
                _ratio(
                    f'babelclip_slots_total{{{_WHICH}, use="padding"}}', f"babelclip_slots_total{{{_WHICH}}}"
                ),
                "{{tower}}",
            ),
            about="Share of the work that nobody asked for.",
        ),
        graph(
            "Passes by shape",
            "ops",
            Query(per_second(f"babelclip_passes_total{{{_WHICH}}}", "tower, bucket"), "{{tower}} {{bucket}}"),
            about="Of texts by length, of images by rows.",
        ),
    ]


def _workers() -> list[Any]:
    return [
        graph(
            "Queue",
            "percentunit",
            Query('tower:babelclip_queue:used_ratio{tower=~"$tower"}', "{{tower}} {{instance}}"),
            about="Share of the places in TorchServe's queue that are taken. At 1 callers get 503.",
        ),
        graph(
            "Workers that take requests",
            "short",
            Query(f"sum by (tower, version) (babelclip_workers_ready{{{_WHICH}}})", "{{tower}} {{version}}"),
            about="Compare it with the number that there are to be.",
        ),
        graph(
            "Starts of workers",
            "short",
            Query(
                f"sum by (tower, version) (increase(babelclip_worker_starts_total{{{_WHICH}}}[30m]))",
                "{{tower}} {{version}}",
            ),
            about="Within half an hour. More than were added: they end.",
        ),
        graph(
            "Memory of workers",
            "bytes",
            Query(f"babelclip_worker_memory_bytes{{{_WHICH}}}", "{{tower}} {{version}} {{worker}}"),
            about="Of each process.",
        ),
        graph(
            "Shapes",
            "short",
            Query(f"max by (tower) (babelclip_shapes{{{_WHICH}}})", "{{tower}}"),
            about="Distinct shapes since a worker started, where the runtime keeps memory for each.",
        ),
        graph(
            "What computes",
            "short",
            Query(
                f"count by (tower, version, device, dtype, runtime) (babelclip_info{{{_WHICH}}})",
                "{{tower}} {{version}}: {{runtime}} {{dtype}} {{device}}",
            ),
            about="Device, type of the numbers and runtime. It should change with a promotion alone.",
        ),
    ]
