"""What the dashboards are put together from: panels of queries to Prometheus, and variables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_HEIGHT = 8
_THIRD = 8  # of the 24 columns of a dashboard
_SIXTH = 4


@dataclass(frozen=True)
class Query:
    """What a line shows.

    Attributes:
        expr: in PromQL.
        legend: what the line is called; {{label}} is a label's value.
        exemplar: show the traces that were measured, too.
    """

    expr: str
    legend: str
    exemplar: bool = False


def graph(
    title: str, unit: str, *queries: Query, about: str, stacked: bool = False, wide: bool = False
) -> timeseries.Panel:
    """Lines over time.

    Args:
        unit: Grafana's word: reqps, percentunit, s, bytes, short.
        about: what it means, for whoever points at it.
        stacked: the lines are shares of a whole.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .datasource(_SOURCE)
        .unit(unit)
        .min(0)
        .height(_HEIGHT)
        .span(2 * _THIRD if wide else _THIRD)
        .line_width(1)
        .fill_opacity(40 if stacked else 8)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    for query in _targets(queries):
        panel.with_target(query)
    return panel


def number(title: str, unit: str, query: Query, *, about: str, good: float | None = None) -> stat.Panel:
    """One figure, as it is now.

    Args:
        good: it is green from there on, and red below; without it the colour says nothing.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(about)
        .datasource(_SOURCE)
        .unit(unit)
        .height(_SIXTH)
        .span(_SIXTH)
        .with_target(_target(query, "A").instant())
    )
    if good is not None:
        steps = [Threshold(value=None, color="red"), Threshold(value=good, color="green")]
        panel.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    return panel


def variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """What is chosen above a dashboard: one value, several or all of a label."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(_SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def board(
    name: str,
    title: str,
    about: str,
    variables: Sequence[dashboard.QueryVariable],
    rows: Sequence[tuple[str, Sequence[Any]]],
) -> Dashboard:
    """A dashboard of rows of panels.

    Args:
        name: by which links find it; the file is called so as well.
        rows: each with its title.
    """
    made = (
        Dashboard(title)
        .uid(f"babelclip-{name}")
        .description(about)
        .tags(["babelclip"])
        .editable()
        .time("now-3h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for one in variables:
        made.with_variable(one)
    made.link(dashboard.DashboardLink("babelclip").tags(["babelclip"]).as_dropdown(True).keep_time(True))
    ids = count(1)
    for row, panels in rows:
        made.with_row(dashboard.Row(row).id(next(ids)))
        for panel in panels:
            made.with_panel(panel.id(next(ids)))
    return made


def quantile(share: float, histogram: str, by: str = "") -> str:
    """The quantile of a histogram; `histogram` has its labels, and `by` names those that stay apart."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}[$__rate_interval])))"


def per_second(counter: str, by: str = "") -> str:
    """The sum of a counter's rates, apart by some labels."""
    return f"sum{f' by ({by})' if by else ''} (rate({counter}[$__rate_interval]))"


def _targets(queries: Sequence[Query]) -> list[prometheus.Dataquery]:
    return [_target(query, chr(ord("A") + place)).range() for place, query in enumerate(queries)]


def _target(query: Query, letter: str) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(letter)
    return made.datasource(_SOURCE).exemplar(True) if query.exemplar else made.datasource(_SOURCE)
