"""The chart as helm renders it: valid, and the same as was reviewed."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.deploy.helm.charts import (
    CHART,
    EXAMPLES,
    GOLDEN,
    NAMESPACE,
    RELEASE,
    documents,
    helm,
    of_kind,
    rendered,
)
from tests.deploy.helm.golden import renders

SCHEMAS = Path(__file__).parent / "schemas"
IDS = [path.stem for path in EXAMPLES]
CUSTOM = {"HTTPRoute", "GRPCRoute", "PodMonitor", "PrometheusRule", "ScaledObject", "RayService"}


@pytest.mark.parametrize("path", EXAMPLES, ids=IDS)
def test_helm_finds_nothing_to_complain_of(path: Path) -> None:
    """`helm lint --strict` takes each example."""
    done = helm("lint", "--strict", CHART, "--values", path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_alone_can_be_linted() -> None:
    """Tools lint charts by their own values; what those lack is said, and is no mistake of the chart."""
    done = helm("lint", CHART)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", EXAMPLES, ids=IDS)
def test_kubernetes_takes_it(path: Path) -> None:
    """Names, types and required fields are those of Kubernetes' own schemas, and there are no others."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    kinds = set()
    for document in documents(path):
        kinds.add(document["kind"])
        if document["kind"] not in CUSTOM:
            kubernetes_validate.validate(document, "1.37", strict=True)
    server = "RayService" if path.stem.startswith("ray") else "Deployment"
    assert {server, "Service", "ServiceAccount", "NetworkPolicy", "PodDisruptionBudget", "Pod"} <= kinds


@pytest.mark.parametrize("name", ["everything", "tracks"])
def test_the_oldest_kubernetes_takes_it(name: str) -> None:
    """What Chart.yaml allows knows every field, but for image volumes, which are chosen."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    oldest = chart["kubeVersion"].removeprefix(">=").removesuffix(".0-0")
    for document in documents(CHART / "examples" / f"{name}.yaml"):
        if document["kind"] not in CUSTOM:
            kubernetes_validate.validate(document, oldest, strict=True)


def test_the_check_finds_a_mistake() -> None:
    """A field of a pod's security that is misspelt, which would be dropped by the cluster, is found."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    (deployment,) = [one for one in documents(EXAMPLES[0]) if one["kind"] == "Deployment"][:1]
    deployment["spec"]["template"]["spec"]["securityContext"]["runAsNonRot"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="runAsNonRot"):
        kubernetes_validate.validate(deployment, "1.37", strict=True)


@pytest.mark.parametrize("path", EXAMPLES, ids=IDS)
def test_custom_resources_are_what_their_definitions_say(path: Path) -> None:
    """Routes, monitors, rules and scaled objects have the fields of their CRDs and no others."""
    for document in documents(path):
        if document["kind"] in CUSTOM:
            schema = json.loads((SCHEMAS / f"{document['kind']}.json").read_text(encoding="utf-8"))
            jsonschema.validate(document, schema)


def test_every_custom_resource_is_in_an_example() -> None:
    """None is left out of the checks."""
    found = {document["kind"] for path in EXAMPLES for document in documents(path)}
    assert found >= CUSTOM
    assert {"HorizontalPodAutoscaler", "Ingress", "ConfigMap"} <= found


@pytest.mark.parametrize("name", IDS)
def test_a_change_of_what_is_rendered_is_reviewed(name: str) -> None:
    """After a change: python -m tests.deploy.helm.golden, and look at the diff."""
    helm("version")  # Skips where there is none.
    kept = (GOLDEN / f"{name}.yaml").read_text(encoding="utf-8")
    assert renders()[f"{name}.yaml"] == kept


def test_no_render_is_without_its_example() -> None:
    """A render whose example is gone would be reviewed in vain."""
    assert [path.name for path in sorted(GOLDEN.iterdir())] == [path.name for path in EXAMPLES]


@pytest.mark.parametrize(
    ("kind", "path", "wrong"),
    [
        ("HTTPRoute", ("spec", "rules", 0, "matches", 0, "headers", 0), "valeu"),
        ("GRPCRoute", ("spec", "rules", 0, "backendRefs", 0), "wieght"),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 1), "metricRelabeling"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0), "fro"),
        ("RayService", ("spec", "rayClusterConfig", "workerGroupSpecs", 1), "minReplica"),
    ],
)
def test_the_definitions_find_a_mistake(kind: str, path: tuple[str | int, ...], wrong: str) -> None:
    """A misspelt field, which a cluster would drop in silence, is refused however deep it stands."""
    name = "ray" if kind == "RayService" else "everything"
    (document,) = [one for one in documents(CHART / "examples" / f"{name}.yaml") if one["kind"] == kind][:1]
    schema = json.loads((SCHEMAS / f"{kind}.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, schema)
    place: Any = document
    for step in path:
        place = place[step]
    place[wrong] = "x"
    with pytest.raises(jsonschema.ValidationError, match=wrong):
        jsonschema.validate(document, schema)


def test_a_package_holds_what_is_elsewhere_in_the_repository(tmp_path: Path) -> None:
    """Rules, dashboards and scrapes are links in the chart; who installs its package has the files."""
    done = helm("package", CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.glob("*.tgz")
    values = CHART / "examples" / "everything.yaml"
    packaged = helm("template", RELEASE, package, "--namespace", NAMESPACE, "--values", values)
    assert packaged.stdout == rendered(values)


@pytest.mark.parametrize("name", ["tracks", "ingress", "everything", "ray"])
def test_whoever_installs_it_reads_how_to_go_on(name: str) -> None:
    """The notes name the release's own addresses, and are there without a cluster."""
    values = CHART / "examples" / f"{name}.yaml"
    done = helm("install", RELEASE, CHART, "--namespace", NAMESPACE, "--dry-run=client", "--values", values)
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:\n")[2]
    (service,) = [one for one in of_kind(documents(values), "Service") if one in ("clip", "clip-babelclip")]
    assert f"service/{service} 8000" in notes
    assert f"://{service}.{NAMESPACE}:8000" in notes
    assert ("green  10" in notes) == (name == "tracks")
    assert "<no value>" not in notes
