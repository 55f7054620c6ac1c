"""How the chart is watched and scaled: the same scrapes, rules and dashboards, and queries that count."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.helm.charts import NAMESPACE, Document, documents, example, of_kind
from tests.deploy.monitoring.tools import MONITORING, run
from tests.places import REPOSITORY

ADAPTER = REPOSITORY / "deploy" / "helm" / "prometheus-adapter.yaml"
SNAKE = {"sourceLabels": "source_labels", "targetLabel": "target_label"}


def endpoints() -> dict[str, Document]:
    """What the PodMonitor asks, by the job's name."""
    (monitor,) = of_kind(documents(example("everything")), "PodMonitor").values()
    found = {}
    for one in monitor["spec"]["podMetricsEndpoints"]:
        (job,) = [rule["replacement"] for rule in one["relabelings"] if rule["targetLabel"] == "job"]
        found[job] = one
    return found


def test_prometheus_gets_the_same_from_pods_as_from_one_machine() -> None:
    """Each job of prometheus.yml is asked at the gateway's port, and its metrics get the same names."""
    given = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    found = endpoints()
    assert found.keys() == {one["job_name"] for one in given["scrape_configs"]}
    assert {job: one["path"] for job, one in found.items()} == {
        "babelclip-gateway": "/metrics",
        "babelclip-towers": "/metrics/engine",
        "babelclip-queues": "/metrics/queues",
    }
    for one in given["scrape_configs"]:
        endpoint = found[one["job_name"]]
        assert endpoint["port"] == "metrics"
        renamed = [
            {SNAKE.get(name, name): value for name, value in rule.items()}
            for rule in endpoint.get("metricRelabelings", [])
        ]
        assert renamed == one.get("metric_relabel_configs", [])


def test_the_paths_are_those_of_the_gateway() -> None:
    """What the chart asks is what the gateway answers."""
    from gateway.metrics_server import ENGINE, OWN, QUEUES

    assert {one["path"] for one in endpoints().values()} == {OWN, ENGINE, QUEUES}


def test_every_pod_of_every_track_is_asked() -> None:
    """A track that is not watched would be promoted blindly."""
    found = documents(example("tracks"), sets=("monitoring.podMonitor.enabled=true",))
    (monitor,) = of_kind(found, "PodMonitor").values()
    chosen = monitor["spec"]["selector"]["matchLabels"].items()
    for deployment in of_kind(found, "Deployment").values():
        assert chosen <= deployment["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("kind", ["alerts", "recording"])
def test_rules_are_those_of_the_repository(kind: str) -> None:
    """No rule is another in a cluster, but for where its runbook can be read."""
    rule = of_kind(documents(example("everything")), "PrometheusRule")[f"clip-{kind}"]
    given = (MONITORING / "rules" / f"{kind}.yml").read_text(encoding="utf-8")
    given = given.replace("runbook_url: docs/", "runbook_url: https://wiki.example.org/babelclip/docs/")
    assert rule["spec"] == yaml.safe_load(given)


def test_dashboards_are_those_of_the_repository() -> None:
    """Grafana's sidecar finds each, as it was tried."""
    found = of_kind(documents(example("everything")), "ConfigMap")
    files = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
    assert files
    for path in files:
        config = found[f"clip-dashboard-{path.stem}"]
        assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert json.loads(config["data"][f"babelclip-{path.name}"]) == json.loads(
            path.read_text(encoding="utf-8")
        )


def test_a_horizontal_pod_autoscaler_asks_for_what_the_adapter_gives() -> None:
    """A name that nobody gives would leave the number of pods as it is for ever."""
    given = {
        rule["name"]["as"] for rule in yaml.safe_load(ADAPTER.read_text(encoding="utf-8"))["rules"]["custom"]
    }
    (scaler,) = of_kind(documents(example("everything")), "HorizontalPodAutoscaler").values()
    assert {one["pods"]["metric"]["name"] for one in scaler["spec"]["metrics"]} == given
    assert scaler["spec"]["scaleTargetRef"]["name"] == "clip-main"
    (deployment,) = of_kind(documents(example("everything")), "Deployment").values()
    assert "replicas" not in deployment["spec"], "each upgrade would set it back"


def adapter_queries() -> dict[str, str]:
    """The queries of the adapter, as it asks them for the pods of a namespace."""
    return {
        rule["name"]["as"]: rule["metricsQuery"]
        .replace("<<.GroupBy>>", "namespace, pod")
        .replace("<<.LabelMatchers>>", f'namespace="{NAMESPACE}"')
        for rule in yaml.safe_load(ADAPTER.read_text(encoding="utf-8"))["rules"]["custom"]
    }


def keda_queries() -> dict[str, str]:
    """Those of a ScaledObject for all pods of its track."""
    (scaled,) = of_kind(documents(example("keda")), "ScaledObject").values()
    triggers = {
        one["name"]: one["metadata"] for one in scaled["spec"]["triggers"] if one["type"] == "prometheus"
    }
    return {name: triggers[name]["query"] for name in ("items-in-progress", "queue-depth")}


def evaluated(
    tmp_path: Path, series: dict[str, int], queries: dict[str, str], expected: dict[str, Any]
) -> None:
    """Have promtool ask a Prometheus that has these series."""
    (tmp_path / "none.yml").write_text("groups: []\n")
    test = {
        "rule_files": ["none.yml"],
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": f"{value}x5"} for name, value in series.items()],
                "promql_expr_test": [
                    {"expr": query, "eval_time": "5m", "exp_samples": expected[name]}
                    for name, query in queries.items()
                ],
            }
        ],
    }
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump(test))
    run("promtool", "test", "rules", file)


# Two pods of the release's track main, and one of another track, namespace or release.
PODS = {
    "clip-babelclip-main-5d4f-abcde": ({"text": (3, 64), "vision": (40, 64)}, {"text": 1, "vision": 12}),
    "clip-babelclip-main-5d4f-fghij": ({"text": (0, 2), "vision": (0, 0)}, {"text": 0, "vision": 0}),
    "clip-babelclip-main-2-5d4f-klmno": ({"text": (500, 64), "vision": (0, 0)}, {"text": 90, "vision": 0}),
}  # fmt: skip


def series() -> dict[str, int]:
    """What their gateways and TorchServes tell."""
    found = {}
    for pod, (items, queues) in PODS.items():
        labels = f'namespace="{NAMESPACE}", pod="{pod}", job="j", instance="{pod}:8002"'
        for tower, (waiting, at_tower) in items.items():
            of = f'{{{labels}, model="clip", tower="{tower}"}}'
            found[f"babelclip_gateway_waiting_items{of}"] = waiting
            found[f"babelclip_gateway_tower_items{of}"] = at_tower
        for tower, depth in queues.items():
            found[f'babelclip_queue_depth{{{labels}, tower="{tower}", version="1.0"}}'] = depth
    other = 'namespace="elsewhere", pod="clip-babelclip-main-5d4f-abcde", tower="text", model="clip"'
    return {
        **found,
        f"babelclip_queue_depth{{{other}}}": 1000,
        f"babelclip_gateway_tower_items{{{other}}}": 1000,
    }


def test_the_adapter_counts_the_work_of_each_pod(tmp_path: Path) -> None:
    """Of a pod the busier tower counts, what it has and what waits for it; and both queues."""
    labels = {pod: f'{{namespace="{NAMESPACE}", pod="{pod}"}}' for pod in PODS}
    work, queues = (104, 2, 564), (13, 0, 90)
    expected = {
        "babelclip_items_in_progress": [
            {"labels": labels[pod], "value": value} for pod, value in zip(PODS, work, strict=True)
        ],
        "babelclip_queue_depth": [
            {"labels": labels[pod], "value": value} for pod, value in zip(PODS, queues, strict=True)
        ],
    }
    evaluated(tmp_path, series(), adapter_queries(), expected)


def test_keda_counts_the_work_of_its_track(tmp_path: Path) -> None:
    """Pods of another track whose name begins alike, and of another namespace, are not counted."""
    expected = {
        "items-in-progress": [{"labels": "{}", "value": 106}],
        "queue-depth": [{"labels": "{}", "value": 13}],
    }
    evaluated(tmp_path, series(), keda_queries(), expected)


def test_metrics_that_are_scaled_by_are_those_of_the_gateway() -> None:
    """Names that nothing tells would leave the number of pods as it is."""
    told = (REPOSITORY / "gateway" / "collectors.py").read_text(encoding="utf-8")
    told += (REPOSITORY / "scripts" / "serving" / "queue_metrics.py").read_text(encoding="utf-8")
    for query in adapter_queries().values():
        for name in re.findall(r"babelclip_\w+", query):
            assert name.replace("babelclip_gateway_", "") in told


def test_what_scales_to_zero_has_what_wakes_it() -> None:
    """Pods that are not there measure nothing: another trigger must."""
    (scaled,) = of_kind(documents(example("keda")), "ScaledObject").values()
    assert scaled["spec"]["minReplicaCount"] == 0
    assert {one["type"] for one in scaled["spec"]["triggers"][2:]} == {"prometheus", "cron"}
