"""Draws a dashboard's graphs from a running Prometheus, for documents.

python -m deploy.monitoring.dashboards.picture http://127.0.0.1:9090 service docs/monitoring.png --minutes 10
"""

from __future__ import annotations

import argparse
import io
import json
import math
import re
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.dates import DateFormatter
from PIL import Image

from deploy.monitoring.dashboards.queries import FOLDER, Asked, asked

_COLUMNS = 3
_LINES = 7  # named below a graph
_POINTS = 150
_COLOURS = 48  # Lines need no more, and the file is a third as large.
_SCALES = {
    "s": (1000.0, "ms"),
    "percentunit": (100.0, "%"),
    "bytes": (1e-6, "MB"),
    "reqps": (1.0, "/s"),
    "ops": (1.0, "/s"),
}


def draw(prometheus: str, board: str, file: Path, *, seconds: float, window: str = "1m") -> None:
    """Draw the graphs of a dashboard as they were in the last `seconds` into a PNG.

    Args:
        window: stands for Grafana's `$__rate_interval`.

    Raises:
        OSError: Prometheus does not answer, or the file cannot be written.
    """
    content = json.loads((FOLDER / f"{board}.json").read_text(encoding="utf-8"))
    graphs = [panel for panel in content["panels"] if panel["type"] == "timeseries"]
    rows = math.ceil(len(graphs) / _COLUMNS)
    figure, axes = pyplot.subplots(rows, _COLUMNS, figsize=(15, 2.9 * rows), squeeze=False)
    now = time.time()
    for axis, panel in zip(axes.flat, graphs, strict=False):
        unit = panel["fieldConfig"]["defaults"]["unit"]
        for one in asked(panel, window):
            _lines(axis, prometheus, one, unit, now - seconds, now)
        shown = _SCALES.get(unit, (1.0, ""))[1]
        axis.set_title(f"{panel['title']} {f'({shown})' if shown else ''}", fontsize=9, loc="left")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=7)
        axis.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=UTC))  # type: ignore[no-untyped-call]
        axis.set_xlim(datetime.fromtimestamp(now - seconds, UTC), datetime.fromtimestamp(now, UTC))
        handles, labels = axis.get_legend_handles_labels()
        if handles:
            axis.legend(handles[:_LINES], labels[:_LINES], fontsize=6, framealpha=0.7)
    for axis in axes.flat[len(graphs) :]:
        axis.set_visible(False)
    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=80)
    pyplot.close(figure)
    Image.open(drawn).convert("RGB").quantize(_COLOURS).save(file, "PNG", optimize=True)


def _lines(axis: Any, prometheus: str, one: Asked, unit: str, begin: float, end: float) -> None:
    scale = _SCALES.get(unit, (1.0, unit))[0]
    step = max(1.0, (end - begin) / _POINTS)
    words = {"query": one.expr, "start": f"{begin:.3f}", "end": f"{end:.3f}", "step": f"{step:.0f}"}
    address = f"{prometheus}/api/v1/query_range?{urllib.parse.urlencode(words)}"
    with urllib.request.urlopen(address, timeout=30) as answer:
        found = json.load(answer)["data"]["result"]
    for series in found:
        values = [(float(at), float(value)) for at, value in series["values"] if value != "NaN"]
        times = [datetime.fromtimestamp(at, UTC) for at, _ in values]
        axis.plot(
            times, [value * scale for _, value in values], linewidth=1, label=_named(one, series["metric"])
        )


def _named(one: Asked, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), one.legend).strip()


def main(arguments: list[str]) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("prometheus", help="http://HOST:PORT")
    parser.add_argument("board", choices=sorted(file.stem for file in FOLDER.glob("*.json")))
    parser.add_argument("file", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0, help="how far back (default: 60)")
    given = parser.parse_args(arguments)
    draw(given.prometheus.rstrip("/"), given.board, given.file, seconds=60 * given.minutes)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
