"""A RayService: gateways, towers and a head, and what Ray Serve is told."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.settings import PREFIX, read
from tests.deploy.dockerfile import environment
from tests.deploy.helm.charts import Document, documents, example, of_kind, ray_pods, refused
from tests.deploy.helm.rayservices import EXAMPLES, NAME, ROLES, cluster, config, container, group

GOOD: Document = {
    "engine": "ray",
    "models": {"inImage": True},
    "keys": {"existingSecret": "keys"},
    "ray": {"versions": ["1.0"]},
}


def values_of(tmp_path: Path, **more: Any) -> Path:
    """A file of good values with these in place of theirs."""
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **more}))
    return path


@pytest.mark.parametrize("name", EXAMPLES)
def test_kubernetes_takes_the_pods(name: str) -> None:
    """What KubeRay makes pods of has the fields of pods, and no others."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for role, template in ray_pods(documents(example(name)))[NAME].items():
        metadata = {**template["metadata"], "name": role}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        kubernetes_validate.validate(pod, "1.37", strict=True)


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_of_the_other_engine_is_there(name: str) -> None:
    """Pods are KubeRay's alone, and their number is its own autoscaler's."""
    kinds = {one["kind"] for one in documents(example(name))}
    assert "RayService" in kinds
    assert not {"Deployment", "HorizontalPodAutoscaler", "ScaledObject"} & kinds


@pytest.mark.parametrize("name", EXAMPLES)
def test_ray_serve_takes_its_config(name: str) -> None:
    """Its own schema reads it, without proxies and routes, and what it names is there and takes that."""
    schema = pytest.importorskip("ray.serve.schema", reason="Ray Serve is not installed: scripts/setup ray")
    from babelclip.ray_serve import builders
    from babelclip.ray_serve.resources import Resources

    read_config = schema.ServeDeploySchema.model_validate(config(documents(example(name))))
    assert read_config.proxy_location == "Disabled"
    *versions, default = read_config.applications
    for application in versions:
        arguments = dict(application.args)
        assert application.name == f"babelclip-{arguments.pop('version')}"
        assert application.import_path == f"{builders.__name__}:{builders.version.__name__}"
        assert arguments.pop("store") == "/models"
        assert Resources(**arguments).options()["ray_actor_options"]
    assert default.name == "babelclip"
    assert default.import_path == f"{builders.__name__}:{builders.default.__name__}"
    assert default.args == {"version": versions[0].args["version"]}
    assert {one.route_prefix for one in read_config.applications} == {None}


@pytest.mark.parametrize(
    ("name", "limits", "start", "shares"),
    [
        ("ray", {}, {}, {"cpus": 4}),
        ("ray-cuda", {"nvidia.com/gpu": 1}, {"num-gpus": "1"}, {"cpus": 2, "gpus": 0.25}),
        ("ray-gaudi", {"habana.ai/gaudi": 2}, {"resources": """'{"HPU": 2}'"""}, {"cpus": 8, "hpus": 1}),
    ],
)
def test_cards_of_pods_are_resources_of_ray(
    name: str, limits: Document, start: Document, shares: Document
) -> None:
    """The device plugin gives them to a pod, Ray counts them, and replicas ask for shares of them."""
    found = documents(example(name))
    towers = container(found, "towers")["resources"]["limits"]
    assert {one: towers[one] for one in towers if "/" in one} == limits
    params = group(found, "towers")["rayStartParams"]
    assert {one: params[one] for one in start} == start
    for application in config(found)["applications"][:-1]:
        args = application["args"]
        assert {one: args[one] for one in ("cpus", "gpus", "hpus") if one in args} == shares
    if "resources" in start:
        assert json.loads(start["resources"].strip("'")) == {"HPU": limits["habana.ai/gaudi"]}


@pytest.mark.parametrize("name", EXAMPLES)
def test_towers_are_placed_beside_no_gateway(name: str) -> None:
    """Gateways and head offer no cores and no cards, and each replica of a tower asks for some."""
    found = documents(example(name))
    for one in (cluster(found)["headGroupSpec"], group(found, "gateway")):
        assert (one["rayStartParams"]["num-cpus"], one["rayStartParams"]["num-gpus"]) == ("0", "0")
    for application in config(found)["applications"][:-1]:
        assert application["args"]["cpus"] > 0
    for role in ("head", "gateway"):
        assert not [one for one in container(found, role)["resources"]["limits"] if "/" in one]
        assert "tolerations" not in ray_pods(found)[NAME][role]["spec"]


def test_the_autoscaler_adds_towers_and_never_ends_a_gateway() -> None:
    """Callers are in the middle of something there; the pods with towers are between two numbers."""
    found = documents(example("ray"))
    assert cluster(found)["enableInTreeAutoscaling"] is True
    context = cluster(found)["autoscalerOptions"]["securityContext"]
    assert context == container(found, "head")["securityContext"]
    towers, gateway = group(found, "towers"), group(found, "gateway")
    assert (towers["minReplicas"], towers["maxReplicas"], "replicas" in towers) == (2, 8, False)
    assert gateway["minReplicas"] == gateway["maxReplicas"] == gateway["replicas"] == 2
    assert "serviceAccountName" not in ray_pods(found)[NAME]["head"]["spec"]
    fixed = documents(example("ray-cuda"))
    assert "enableInTreeAutoscaling" not in cluster(fixed)
    assert group(fixed, "towers")["replicas"] == group(fixed, "towers")["maxReplicas"] == 1


def test_the_gateway_is_a_driver_beside_its_node() -> None:
    """One container runs both, by the image's entry point, and reads the settings of this release."""
    found = documents(example("ray-cuda"))
    gateway = container(found, "gateway")
    annotations = ray_pods(found)[NAME]["gateway"]["metadata"]["annotations"]
    assert annotations["ray.io/overwrite-container-cmd"] == "true"
    assert "command" not in gateway
    assert gateway["args"][:2] == ["python", "/opt/babelclip/scripts/ray_gateway.py"]
    assert "--gateway-config=/etc/babelclip/gateway.toml" in gateway["args"]
    assert "checksum/config" in annotations
    given = {one["name"]: one["value"] for one in gateway["env"]}
    images = {name: value for name, value in environment("cuda").items() if name.startswith(PREFIX)}
    settings = read(None, {**images, **{name: given[name] for name in given if name.startswith(PREFIX)}})
    places = {one["mountPath"] for one in gateway["volumeMounts"]}
    for path in (settings.keys_file, settings.versions_file):
        assert path.rpartition("/")[0] in places
    assert {port["name"]: port["containerPort"] for port in gateway["ports"]} == {
        "http": 8000,
        "grpc": 8001,
        "metrics": 8002,
    }
    assert gateway["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_node_is_started_by_the_command_of_kuberay(name: str) -> None:
    """Process 1 passes signals on to it, and Ray's own port says whether it lives: the image has no wget."""
    found = documents(example(name))
    for role in ("head", "towers"):
        annotations = ray_pods(found)[NAME][role]["metadata"]["annotations"]
        assert annotations["ray.io/overwrite-container-cmd"] == "true"
        one = container(found, role)
        assert "command" not in one
        assert one["args"][-1].endswith('eval "exec $KUBERAY_GEN_RAY_START_CMD"')
        ports = {port["name"]: port["containerPort"] for port in one["ports"]}
        for probe in ("readinessProbe", "livenessProbe"):
            assert one[probe]["httpGet"] == {"path": "/api/healthz", "port": "agent"}
        assert ports["agent"] == 52365
    named = {port["name"] for port in container(found, "head")["ports"]}
    assert {"gcs-server", "dashboard", "serve"} <= named


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_pod_has_the_models_and_places_of_its_own(name: str) -> None:
    """Ray reads the store wherever it builds an application; its session and its memory are volumes."""
    found = documents(example(name))
    for role in ROLES:
        volumes = {one["name"]: one for one in ray_pods(found)[NAME][role]["spec"]["volumes"]}
        mounted = {one["mountPath"]: volumes[one["name"]] for one in container(found, role)["volumeMounts"]}
        assert mounted["/models"] == volumes["models"]
        # Under these names KubeRay's autoscaler reads the first, and leaves the second as it is.
        assert mounted["/tmp/ray"]["name"] == "ray-logs"
        assert mounted["/dev/shm"]["name"] == "shared-mem"
        assert mounted["/dev/shm"]["emptyDir"]["medium"] == "Memory"
        env = {one["name"]: one["value"] for one in container(found, role)["env"]}
        assert env["TMPDIR"] in mounted
        assert env["RAY_TMPDIR"] == "/tmp"


def test_a_track_is_a_cluster_of_its_own(tmp_path: Path) -> None:
    """Each serves the version that it says it has, and no process of one reaches the other."""
    tracks: Document = {"blue": {"version": "1.0"}, "green": {"version": "2.0", "replicas": 1}}
    found = documents(values_of(tmp_path, tracks=tracks, routing={"weights": {"blue": 1}}, ray={}))
    services = of_kind(found, "RayService")
    assert services.keys() == {"clip-babelclip-blue", "clip-babelclip-green"}
    for name, one in services.items():
        track = name.rpartition("-")[2]
        applications = yaml.safe_load(one["spec"]["serveConfigV2"])["applications"]
        named = [application["name"] for application in applications]
        assert named == [f"babelclip-{tracks[track]['version']}", "babelclip"]
        policy = of_kind(found, "NetworkPolicy")[f"{name}-ray"]["spec"]["ingress"][0]["from"][0]
        assert policy["podSelector"]["matchLabels"]["babelclip.io/track"] == track


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"ray": {}}, "ray.versions must name the versions"),
        ({"args": ["--workers", "2"]}, "args (of the track main) are options of scripts/serve"),
        ({"autoscaling": {"enabled": True}}, "autoscaling.by (of the track main) is ray with engine ray"),
        ({"engine": "torchserve", "autoscaling": {"enabled": True, "by": "ray"}}, "keda with torchserve"),
        ({"autoscaling": {"enabled": True, "by": "ray"}}, "which networkPolicy.egress must allow"),
        ({"ray": {"versions": ["1.0"], "towers": {"gpus": 0.5}}}, "ray.towers.gpus needs device.kind cuda"),
        ({"device": {"kind": "cuda", "cards": 1}}, "ray.towers.gpus must be more than 0 with device"),
        ({"ray": {"versions": ["1.0"], "towers": {"cpus": 0}}}, "ray.towers.cpus must be more than 0"),
        ({"ray": {"versions": ["1.0"], "towers": {"maxReplicas": 1}}}, "must be 0 or not below ray.towers"),
        ({"device": {"kind": "hpu"}}, "must be at least 1 with device.kind hpu"),
        ({"podDisruptionBudget": {"maxUnavailable": "50%"}}, "must be a number of pods with engine ray"),
        ({"fullnameOverride": "c" * 40, "tracks": {"a-track": {}}}, "more than the 47 letters"),
        ({"engine": "triton"}, "engine"),
        ({"ray": {"version": "2.60"}}, "version"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_are_refused(values: Document, says: str) -> None:
    """What would be found out by a cluster that never becomes ready is said before anything is changed."""
    assert says in refused(yaml.safe_dump({**GOOD, **values}))
