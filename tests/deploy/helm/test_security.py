"""What pods may do, and who reaches them: Pod Security's `restricted`, and the NetworkPolicy."""

from pathlib import Path
from typing import Any

import pytest

from tests.deploy.helm.charts import EXAMPLES, Document, documents, example, of_kind, pods

IDS = [path.stem for path in EXAMPLES]
# Volumes that `restricted` allows, of those that the chart has; an image volume is read-only.
VOLUMES = {"configMap", "emptyDir", "persistentVolumeClaim", "secret", "image"}
TORCHSERVE = [path for path in EXAMPLES if not path.stem.startswith("ray")]
# Of which example which pod asks the cluster's API: its autoscaler, by an account that KubeRay gives it.
AUTOSCALED = ("ray", "clip-babelclip-main-head")


def containers(pod: Document) -> list[Document]:
    """All of a pod, those that come first as well."""
    return [*pod.get("initContainers", []), *pod["containers"]]


@pytest.mark.parametrize("path", EXAMPLES, ids=IDS)
def test_pods_are_restricted(path: Path) -> None:
    """A namespace that enforces `restricted` takes every pod, and each can write to its mounts alone."""
    found = pods(documents(path))
    assert found
    for name, pod in found.items():
        of_pod = pod["securityContext"]
        assert of_pod["runAsNonRoot"] is True
        assert of_pod["runAsUser"] != 0
        assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & pod.keys()
        assert pod["automountServiceAccountToken"] is ((path.stem, name) == AUTOSCALED)
        for volume in pod.get("volumes", []):
            assert volume.keys() - {"name"} <= VOLUMES, volume
        for container in containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["readOnlyRootFilesystem"] is True
            assert not {"privileged", "procMount", "runAsUser"} & context.keys()
            assert not any("hostPort" in port for port in container.get("ports", []))


@pytest.mark.parametrize("path", EXAMPLES, ids=IDS)
def test_every_container_has_limits(path: Path) -> None:
    """A container without a limit of processors starts workers for all of its node's."""
    for pod in pods(documents(path)).values():
        for container in containers(pod):
            assert {"cpu", "memory"} <= container["resources"]["limits"].keys(), container["name"]
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()


@pytest.mark.parametrize("path", TORCHSERVE, ids=lambda path: path.stem)
def test_only_the_gateway_is_reached(path: Path) -> None:
    """Callers reach HTTP and gRPC, a named namespace the metrics, and nobody TorchServe; egress is closed."""
    found = documents(path)
    (policy,) = of_kind(found, "NetworkPolicy").values()
    spec = policy["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    callers, prometheus = spec["ingress"]
    assert [port["port"] for port in callers["ports"]] == ["http", "grpc"]
    assert [port["port"] for port in prometheus["ports"]] == ["metrics"]
    assert prometheus["from"]
    assert all(peer for peer in prometheus["from"])
    for rule in spec["egress"]:
        assert rule["ports"]
        assert rule["to"]
    for deployment in of_kind(found, "Deployment").values():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert spec["podSelector"]["matchLabels"].items() <= labels.items()
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        named = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert named == {"http": 8000, "grpc": 8001, "metrics": 8002}
    for service in of_kind(found, "Service").values():
        assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http", "grpc"]


def test_metrics_that_are_not_opened_stay_on_loopback() -> None:
    """Nobody else reaches them, and the gateway does not listen there."""
    found = documents(example("cpu"), sets=("metrics.enabled=false",))
    (policy,) = of_kind(found, "NetworkPolicy").values()
    assert [[port["port"] for port in rule["ports"]] for rule in policy["spec"]["ingress"]] == [
        ["http", "grpc"]
    ]
    (deployment,) = of_kind(found, "Deployment").values()
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert "BABELCLIP_GATEWAY_METRICS_HOST" not in {entry["name"] for entry in container["env"]}
    assert "metrics" not in {port["name"] for port in container["ports"]}


@pytest.mark.parametrize("path", EXAMPLES, ids=IDS)
def test_no_secret_is_in_the_render(path: Path) -> None:
    """Keys and certificates are named; the chart makes no Secret, and no variable holds one."""
    found = documents(path)
    assert not of_kind(found, "Secret")
    for pod in pods(found).values():
        for container in containers(pod):
            for entry in container.get("env", []):
                assert not any(word in entry["name"] for word in ("TOKEN", "PASSWORD", "SECRET")), entry


def test_openshift_chooses_the_user() -> None:
    """Who gives pods users of its own leaves those of the chart out by null, and nothing else changes."""
    nulls = tuple(f"podSecurityContext.{one}=null" for one in ("runAsUser", "runAsGroup", "fsGroup"))
    for pod in pods(documents(example("cpu"), sets=nulls)).values():
        context: dict[str, Any] = pod["securityContext"]
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & context.keys()
        assert context["runAsNonRoot"] is True
