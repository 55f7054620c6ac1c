"""The rules: valid, each alert tried where it fires and where it is silent, and explained."""

import re
from collections import defaultdict
from typing import Any

import pytest
import yaml

from gateway.outcomes import ERRORS, STATUSES
from tests.deploy.monitoring.tools import MONITORING, run
from tests.places import REPOSITORY

RULES = MONITORING / "rules"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((RULES / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
TESTS = sorted((RULES / "tests").glob("*.yml"))


def test_prometheus_takes_the_configuration() -> None:
    """The scrape configuration and the rules are valid, by Prometheus' own checker."""
    run("promtool", "check", "config", MONITORING / "prometheus.yml")


def test_alertmanager_takes_its_example() -> None:
    """The example is one that Alertmanager starts with."""
    run("amtool", "check-config", MONITORING / "alertmanager.yml")


@pytest.mark.slow  # days pass in it, and promtool evaluates all of them
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_alerts_fire_and_are_silent(file: Any) -> None:
    """Each alert fires in the situation that it is made for, and not in one that resembles it."""
    run("promtool", "test", "rules", file)


def test_each_alert_is_tried_both_ways() -> None:
    """None is without a situation in which it fires, or without one in which it is silent."""
    tried: dict[str, set[bool]] = defaultdict(set)
    for file in TESTS:
        for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]:
            for one in test["alert_rule_test"]:
                tried[one["alertname"]].add(bool(one["exp_alerts"]))
    assert tried == {name: {True, False} for name in ALERTS}


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_what_to_do(name: str) -> None:
    """Whoever is woken reads what is wrong, and finds a section of the runbooks about it."""
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"]
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert anchor == name.lower()
    assert re.findall(r"^- \*\*(.*?):\*\*", section, re.MULTILINE) == ["Means", "Look at", "Do"]
    assert f"`{alert['labels']['severity']}`" in section


def test_no_section_is_without_its_alert() -> None:
    """A runbook of an alert that is gone would be looked for in vain."""
    text = (REPOSITORY / "docs" / "runbooks.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [*ALERTS]


def test_errors_are_the_same_everywhere() -> None:
    """What an SLO counts as an error is what its trace is kept for."""
    text = (RULES / "recording.yml").read_text(encoding="utf-8")
    (pattern,) = {*re.findall(r'babelclip_gateway_answers_total\{status=~"(.*?)"\}', text)}
    assert {one for one in STATUSES if re.fullmatch(pattern, one)} == ERRORS


def test_the_collector_has_all_that_it_names() -> None:
    """Each part of the pipeline is there, and what was slow or failed is kept before it is sent."""
    given = yaml.safe_load((MONITORING / "otel-collector.yaml").read_text(encoding="utf-8"))
    pipeline = given["service"]["pipelines"]["traces"]
    for part in ("receivers", "processors", "exporters"):
        assert set(pipeline[part]) == set(given[part])
    assert pipeline["processors"].index("tail_sampling") < pipeline["processors"].index("batch")
    policies = given["processors"]["tail_sampling"]["policies"]
    assert [policy["type"] for policy in policies] == ["status_code", "latency", "probabilistic"]
    assert all(policy["type"] in policy for policy in policies)
