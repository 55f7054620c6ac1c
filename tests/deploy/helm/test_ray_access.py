"""Who reaches whom in a RayService, who finds its pods, and what each sees."""

import pytest

from tests.deploy.helm.charts import documents, example, of_kind, ray_pods
from tests.deploy.helm.rayservices import EXAMPLES, NAME, ROLES, cluster, container


def test_keys_are_the_gateways_alone() -> None:
    """What runs an archive's code sees no keys, and the volume of the state on Gaudi alone."""
    for name in EXAMPLES:
        found = documents(example(name))
        for role in ("head", "towers"):
            places = {one["mountPath"] for one in container(found, role)["volumeMounts"]}
            assert not [place for place in places if place.startswith("/run/secrets")]
            volumes = ray_pods(found)[NAME][role]["spec"]["volumes"]
            (state,) = [one for one in volumes if one["name"] == "state"]
            kept = (name, role) == ("ray-gaudi", "towers")
            assert ("persistentVolumeClaim" in state) == kept


@pytest.mark.parametrize("name", EXAMPLES)
def test_processes_of_ray_show_each_other_a_token(name: str) -> None:
    """KubeRay makes it, or takes the Secret that is named; it stands in no pod's template."""
    found = documents(example(name))
    options = cluster(found)["authOptions"]
    assert options["mode"] == "token"
    assert options.get("secretName") == ("babelclip-ray" if name == "ray-cuda" else None)


@pytest.mark.parametrize("name", EXAMPLES)
def test_callers_reach_the_gateway_and_nothing_of_ray(name: str) -> None:
    """Ray's ports are open to pods of the cluster, the dashboard to the operator, metrics to Prometheus."""
    found = documents(example(name))
    policies = of_kind(found, "NetworkPolicy")
    assert policies.keys() == {"clip-babelclip", f"{NAME}-ray"}
    labels = {role: one["metadata"]["labels"] for role, one in ray_pods(found)[NAME].items()}
    callers = policies["clip-babelclip"]["spec"]["podSelector"]["matchLabels"]
    assert [role for role in ROLES if callers.items() <= labels[role].items()] == ["gateway"]
    spec = policies[f"{NAME}-ray"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    chosen = spec["podSelector"]
    (rule,) = chosen["matchExpressions"]
    assert (rule["key"], rule["operator"]) == ("babelclip.io/ray", "Exists")
    for role in ROLES:
        assert chosen["matchLabels"].items() <= labels[role].items()
        assert labels[role]["babelclip.io/ray"] == role
    inside, operator, prometheus = spec["ingress"]
    assert inside == {"from": [{"podSelector": chosen}]}
    assert [port["port"] for port in operator["ports"]] == ["dashboard"]
    (peer,) = operator["from"]
    assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "kuberay-operator"}
    assert [port["port"] for port in prometheus["ports"]] == ["metrics"]
    assert spec["egress"][0] == {"to": [{"podSelector": chosen}]}
    assert all(rule["to"] and rule["ports"] for rule in spec["egress"][1:])


@pytest.mark.parametrize("name", EXAMPLES)
def test_services_lead_to_gateways(name: str) -> None:
    """And KubeRay's to the head: its own label app.kubernetes.io/name is not written over there."""
    found = documents(example(name))
    labels = {role: one["metadata"]["labels"] for role, one in ray_pods(found)[NAME].items()}
    for service in of_kind(found, "Service").values():
        selector = service["spec"]["selector"]
        assert [role for role in ROLES if selector.items() <= labels[role].items()] == ["gateway"]
    for role in ("head", "towers"):
        assert not {"app.kubernetes.io/name", "app.kubernetes.io/created-by"} & labels[role].keys()


def test_as_many_pods_stay_as_kubernetes_can_count() -> None:
    """Of pods that no Deployment makes it takes a number that must stay; all but one, or none of one."""
    budgets = of_kind(documents(example("ray")), "PodDisruptionBudget")
    fewest = {name: one["spec"]["minAvailable"] for name, one in budgets.items()}
    assert fewest == {NAME: 1, f"{NAME}-towers": 1}
    assert not [one for one in budgets.values() if "maxUnavailable" in one["spec"]]
    alone = documents(example("ray-cuda"))
    assert of_kind(alone, "PodDisruptionBudget")[f"{NAME}-towers"]["spec"]["minAvailable"] == 0


def test_rules_and_dashboards_find_the_towers_series() -> None:
    """Ray puts its name before those of ours, at a port of its own; the gateway has no series of queues."""
    monitors = of_kind(documents(example("ray")), "PodMonitor")
    (gateway,) = monitors["clip-babelclip"]["spec"]["podMetricsEndpoints"]
    assert gateway["path"] == "/metrics"
    (towers,) = monitors["clip-babelclip-ray"]["spec"]["podMetricsEndpoints"]
    assert {"targetLabel": "job", "replacement": "babelclip-towers"} in towers["relabelings"]
    rename, keep = towers["metricRelabelings"]
    assert (rename["regex"], rename["targetLabel"]) == ("ray_(babelclip_.+)", "__name__")
    assert (keep["regex"], keep["action"]) == ("babelclip_.+", "keep")
