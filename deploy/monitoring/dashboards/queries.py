"""What the panels of a written dashboard ask, without Grafana and without its SDK."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "grafana" / "dashboards"
"""Where the files are that `python -m deploy.monitoring.dashboards` writes."""


@dataclass(frozen=True)
class Asked:
    """A query as Prometheus gets it.

    Attributes:
        legend: the name of its lines, in which {{label}} stands for a label's value.
    """

    expr: str
    legend: str


def asked(panel: Mapping[str, Any], window: str) -> list[Asked]:
    """The queries of a panel; every variable is at All.

    Args:
        window: stands for `$__rate_interval`.
    """
    return [
        Asked(_filled(target["expr"], window), target.get("legendFormat", ""))
        for target in panel.get("targets") or ()
    ]


def _filled(expr: str, window: str) -> str:
    return re.sub(r"\$\w+", ".*", expr.replace("$__rate_interval", window))
