"""Every query of every panel and rule, asked of a real Prometheus that scraped a real server under load."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from deploy.monitoring.dashboards.picture import draw
from deploy.monitoring.dashboards.queries import FOLDER, asked
from tests.deploy.monitoring.live import Callers, Prometheus, prometheus, served, wait_until
from tests.deploy.monitoring.tools import MONITORING, run, tool
from tests.e2e.support import Server
from tests.places import REPOSITORY
from tests.shared import mini_store

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

_WINDOW = "1m"
# What a figure of a unit can be at all: shares are from 0 to 1, the longest time is that until a key ends.
_MOST = {
    "percentunit": 1.0 + 1e-9,
    "s": 31 * 86400.0,
    "ms": 3.6e6,
    "bytes": 1e15,
    "reqps": 1e4,
    "ops": 1e5,
    "short": 1e5,
}
_SELECTOR = re.compile(r"\b(?:babelclip_|job:|tower:|tower_stage:|process_|up(?=\{))[\w:]*(?:\{[^{}]*\})?")


@dataclass
class Watched:
    """A server under load, and who watches it."""

    facts: dict[str, Any]
    prometheus: Prometheus
    callers: Callers

    def figures(self, query: str) -> list[float]:
        """What a query finds; load goes on until there is something. A scrape may fail on a busy machine."""
        found: list[float] = []

        def answers() -> bool:
            found[:] = _figures(self.prometheus.query(query))
            if not found:
                self.callers.round()
            return bool(found)

        wait_until(answers, lambda: f"no figure of {query}")
        return found


def _figures(found: dict[str, float]) -> list[float]:
    return [value for value in found.values() if not math.isnan(value)]


def panels() -> list[tuple[str, str, str]]:
    """Of each query of each panel: where it stands, its unit, itself."""
    found = []
    for file in sorted(FOLDER.glob("*.json")):
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "")
            found += [(f"{file.stem}: {panel['title']}", unit, one.expr) for one in asked(panel, _WINDOW)]
    return found


def rules(file: str) -> list[str]:
    """The queries of a file of rules."""
    content = yaml.safe_load((MONITORING / "rules" / file).read_text(encoding="utf-8"))
    return [rule["expr"] for group in content["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A server that has been called in every way."""
    tool("prometheus")  # Before a server is started for nothing.
    folder = tmp_path_factory.mktemp("watched")
    with served(mini_store(tmp_path_factory), folder) as facts, prometheus(facts, folder) as running:
        made = Watched(facts, running, Callers(facts))
        for _ in range(2):  # A rate takes two looks at a counter.
            made.callers.round()
        yield made


def test_every_panel_has_plausible_figures(watched: Watched) -> None:
    """No panel is empty, and none shows what cannot be."""
    for where, unit, expr in panels():
        figures = watched.figures(expr)
        assert all(0 <= figure <= _MOST[unit] for figure in figures), (where, expr, figures)


def test_every_recorded_rule_has_figures(watched: Watched) -> None:
    """What alerts and dashboards build on is there."""
    for expr in rules("recording.yml"):
        assert all(0 <= figure <= 1e5 for figure in watched.figures(expr)), expr


def test_figures_agree_with_one_another(watched: Watched) -> None:
    """The stages of a tower are all of its time, all workers are there, and poison is counted by its kind."""
    ask = watched.prometheus.query
    shares = watched.figures("sum by (tower) (tower_stage:babelclip_stage_seconds:share5m)")
    assert shares == pytest.approx([1.0, 1.0])
    wait_until(lambda: _figures(ask("sum(babelclip_workers_ready)")) == [2])
    wait_until(lambda: _figures(ask("min(babelclip_gateway_model_ready)")) == [1])
    wait_until(lambda: len(ask("babelclip_gateway_worker_up == 1")) == 2)
    for code in ("image_truncated", "image_undecodable", "invalid_item", "empty_item", "text_too_long"):
        assert sum(ask(f'babelclip_gateway_items_total{{outcome="{code}"}}').values()) > 0, code
    assert sum(ask('babelclip_gateway_refusals_total{key="partner", limit="requests"}').values()) > 0
    assert sum(ask('babelclip_gateway_answers_total{status=~"5.."}').values()) == 0
    at_tower = sum(ask('babelclip_items_total{tower="text", code="ok"}').values())
    in_all = sum(ask('babelclip_gateway_items_total{tower="text", outcome="ok"}').values())
    assert 0 < at_tower < in_all  # The cache knew the others.


def test_every_alert_finds_its_series(watched: Watched) -> None:
    """No alert is silent because what it asks for is not there; all are evaluated without an error."""
    for expr in rules("alerts.yml"):
        for selector in _SELECTOR.findall(expr):
            assert watched.figures(selector), (selector, expr)
    for group in watched.prometheus.get("rules")["groups"]:
        for rule in group["rules"]:
            assert rule["health"] == "ok", rule


def test_nothing_pages_while_callers_err(watched: Watched) -> None:
    """Broken images, wrong keys and limits wake nobody."""
    wrong = ("Internal", "Error", "GoldenItem", "NotReady", "CrashLooping", "Missing", "Down", "Mix")
    firing = {one["labels"]["alertname"] for one in watched.prometheus.get("alerts")["alerts"]}
    assert not {name for name in firing if any(word in name for word in wrong)}


def test_variables_have_values(watched: Watched) -> None:
    """What is chosen above a dashboard can be chosen."""
    for file in FOLDER.glob("*.json"):
        for one in json.loads(file.read_text(encoding="utf-8"))["templating"]["list"]:
            if one["type"] == "query":
                metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", one["query"]).groups()  # type: ignore[union-attr]
                assert watched.prometheus.get(f"label/{label}/values", **{"match[]": metric})


def test_queries_of_the_runbooks_are_valid(watched: Watched) -> None:
    """Who is woken at night can copy them."""
    text = (REPOSITORY / "docs" / "runbooks.md").read_text(encoding="utf-8")
    queries = [one for one in re.findall(r"`([^`]+)`", text) if "(" in one and "babelclip_" in one]
    assert len(queries) > 10
    for query in queries:
        watched.prometheus.query(query)


@pytest.mark.parametrize("address", ["gateway", "towers", "queues"])
def test_our_metrics_are_as_prometheus_wants_them(watched: Watched, address: str) -> None:
    """promtool finds nothing to say about the names, types and units of what is ours."""
    engine = watched.facts["engine"]
    url = {
        "gateway": watched.facts["metrics"],
        "towers": engine["metrics"],
        "queues": engine["queue_metrics"],
    }
    lines = httpx.get(url[address], timeout=60).text.splitlines(keepends=True)
    ours = [line for line in lines if re.match(r"(# (HELP|TYPE) )?(babelclip|process)_", line)]
    if address != "towers":
        assert len(ours) == len(lines)
    assert run("promtool", "check", "metrics", given="".join(ours)) == ""


def test_only_ours_and_what_was_renamed_is_kept(watched: Watched) -> None:
    """Prometheus keeps no name of TorchServe's own kind."""
    names = watched.prometheus.get("label/__name__/values")
    known = re.compile(r"(babelclip|process|torchserve|scrape|job:|call:|tower|ALERTS|up$)")
    assert [name for name in names if not known.match(name)] == []
    assert "torchserve_queue_time_milliseconds_sum" in names


def test_the_graphs_can_be_drawn(watched: Watched, tmp_path: Path) -> None:
    """The picture of the documentation is made from such figures, and is small enough for it."""
    file = tmp_path / "service.png"
    draw(watched.prometheus.url, "service", file, seconds=120)
    content = file.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert 20_000 < len(content) <= 200_000


def test_a_worker_that_dies_is_seen(watched: Watched) -> None:
    """TorchServe starts another and says `Healthy` all along; the number of starts tells, and adds up."""
    starts = 'sum(babelclip_worker_starts_total{tower="text"})'
    assert watched.figures(starts) == [1]
    engine = watched.facts["engine"]
    server = Server(**{**engine, "token_file": Path(engine["token_file"])})
    psutil.Process(server.worker_pids()["text"][0]).kill()
    wait_until(lambda: _figures(watched.prometheus.query(starts)) == [2])
