"""The pods of a RayService as the chart renders them, run without a cluster of Kubernetes: three containers.

Each has processes, places and a network of its own, and the environment that KubeRay adds to a pod; what
KubeRay does then, which is to deploy the rendered config at the head, the test does.
"""

import contextlib
import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import yaml

from babelclip import Client
from babelclip.keys.file import add
from tests.deploy import confinement, pod_network
from tests.deploy.confinement import Confined, Tree
from tests.deploy.dockerfile import environment
from tests.deploy.helm.charts import Document, documents, example, of_kind, ray_pods
from tests.deploy.pod_network import PodNetwork, pod_networks
from tests.deploy.test_confined import own_tree
from tests.e2e.support import PATIENCE
from tests.shared import mini_store

pytest.importorskip("ray.serve", reason="Ray Serve is not installed: scripts/setup ray")
pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# In the order in which they are started, so that a busy machine has one start at a time.
ROLES = ("head", "towers", "gateway")
TEXTS = ["a red heart", "ein rotes Herz"]
# Of the example, small enough for a machine of two cores.
SMALL = (
    *("autoscaling.enabled=false", "replicas=1", "resources.limits.cpu=2", "env[0].name=BABELCLIP_DTYPE"),
    *("env[0].value=float32", "ray.towers.replicas=1", "ray.towers.maxReplicas=0", "ray.towers.cpus=1"),
)


@dataclass(frozen=True)
class RayCluster:
    """The three containers, as pods of a cluster."""

    pods: dict[str, Confined]
    networks: dict[str, PodNetwork]
    token: str
    key: str

    def ask(self, role: str, port: int, path: str, *, method: str = "GET", **sent: Any) -> httpx.Response:
        """What a role answers another pod."""
        other = self.networks["head" if role == "towers" else "towers"]
        address = f"http://{self.networks[role].address}:{port}{path}"

        def sending() -> httpx.Response:
            return httpx.request(method, address, timeout=60.0, trust_env=False, **sent)

        return confinement.inside(other.file, sending)

    def embed(self, **headers: str) -> httpx.Response:
        """What the gateway answers a caller in another pod."""
        body = {"input": TEXTS, "model": "mini"}
        return self.ask("gateway", 8000, "/v1/embeddings", method="POST", json=body, headers=headers)

    def processes(self, role: str, title: str) -> list[psutil.Process]:
        """Those of a pod whose command line begins so."""
        found = []
        for process in self.pods[role].first().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if "".join(process.cmdline()[:1]).rpartition("/")[2].startswith(title):
                    found.append(process)
        return found


def start_command(role: str, found: list[Document], head: str) -> str:
    """The command that KubeRay makes of a group's parameters and of what its container may use."""
    (service,) = of_kind(found, "RayService").values()
    spec = service["spec"]["rayClusterConfig"]
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    params = dict((spec["headGroupSpec"] if role == "head" else groups[role])["rayStartParams"])
    (container,) = next(iter(ray_pods(found).values()))[role]["spec"]["containers"]
    params.setdefault("num-cpus", str(container["resources"]["limits"]["cpu"]))
    params |= {"metrics-export-port": "8080", "dashboard-agent-listen-port": "52365"}
    params |= {"dashboard-host": "0.0.0.0"} if role == "head" else {"address": f"{head}:6379"}
    options = [f"--{name}={value}" for name, value in sorted(params.items())]
    return " ".join(["ray start", *(["--head"] if role == "head" else []), "--block", *options])


def kuberay_environment(role: str, command: str, head: str, token: str) -> dict[str, str]:
    """What KubeRay adds to that of a container."""
    return {
        "KUBERAY_GEN_RAY_START_CMD": command,
        "RAY_ADDRESS": f"{'127.0.0.1' if role == 'head' else head}:6379",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_PORT": "6379",
    }


def wait_for(holds: Callable[[], object], pods: dict[str, Confined]) -> None:
    """Wait for what must come to hold while the pods run."""
    give_up = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if holds():
                return
        assert time.monotonic() < give_up
        for pod in pods.values():
            pod.first()  # Raises where it has ended.
        time.sleep(0.2)


def is_up(cluster: RayCluster, role: str, pod: Confined) -> bool:
    """Whether its node says that it lives, before the container ends.

    Ray gives up a node whose agents take longer than a quarter of a minute, as they do on a busy machine.
    """
    give_up = time.monotonic() + PATIENCE
    while not pod.has_ended():
        assert time.monotonic() < give_up, pod.lines
        with contextlib.suppress(httpx.HTTPError):
            if cluster.ask(role, 52365, "/api/healthz").status_code == 200:
                return True
        time.sleep(0.5)
    return False


@contextlib.contextmanager
def started(scratch: Path, store: Path) -> Iterator[RayCluster]:
    """The pods of a cluster, with what the chart says and KubeRay adds; nothing is deployed yet.

    A container that ends while it starts is started again, as a kubelet does.
    """
    found = documents(example("ray"), sets=SMALL)
    token = secrets.token_hex(32)
    secret = scratch / "secret"
    secret.mkdir()
    key = add(secret / "keys.json", "shop")
    os.chmod(secret / "keys.json", 0o444)
    with contextlib.ExitStack() as running:
        networks = dict(zip(ROLES, running.enter_context(pod_networks(len(ROLES))), strict=True))
        cluster = RayCluster({}, networks, token, key)
        for role in ROLES:
            readable = {"/models": store}
            if role == "gateway":
                readable["/run/secrets/babelclip-keys"] = secret
            for attempt in itertools.count():
                folder = scratch / f"{role}-{attempt}"
                pod = running.enter_context(container(cluster, role, found, folder, readable))
                if is_up(cluster, role, pod):
                    break
            cluster.pods[role] = pod
        yield cluster


@contextlib.contextmanager
def container(
    cluster: RayCluster, role: str, found: list[Document], folder: Path, readable: dict[str, Path]
) -> Iterator[Confined]:
    """The one container of a pod."""
    (spec,) = next(iter(ray_pods(found).values()))[role]["spec"]["containers"]
    head = cluster.networks["head"].address
    given = {entry["name"]: entry["value"] for entry in spec["env"]}
    given["HOME"] = environment("cpu")["HOME"]
    given |= kuberay_environment(role, start_command(role, found, head), head, cluster.token)
    writable = {"/var/lib/babelclip": folder / "state", "/run/babelclip": folder / "run"}
    writable["/tmp/ray"] = folder / "ray"
    for place in writable.values():
        place.mkdir(parents=True)
    tree = own_tree()
    with confinement.run(
        Tree(tree.root, tree.folders, tree.links, {**tree.environment, **given}),
        ["/opt/babelclip/deploy/containers/entrypoint", *spec["args"]],
        scratch=folder,
        writable=writable,
        readable=readable,
        shm_mb=640,
        tmp_mb=256,
        network=cluster.networks[role].file,
    ) as running:
        yield running


def deploy(cluster: RayCluster, found: list[Document]) -> None:
    """As KubeRay does: the rendered config, to the head's dashboard."""
    (service,) = of_kind(found, "RayService").values()
    config = yaml.safe_load(service["spec"]["serveConfigV2"])

    def put(**headers: str) -> int:
        path = "/api/serve/applications/"
        return cluster.ask("head", 8265, path, method="PUT", json=config, headers=headers).status_code

    wait_for(lambda: put() == 401, cluster.pods)
    wait_for(lambda: put(authorization=f"Bearer {cluster.token}") == 200, cluster.pods)


def test_the_pods_serve(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway's pod answers with the towers of another pod: the vectors of the archives, by a key alone.

    SIGTERM lets the gateway end first, and its node then.
    """
    if reason := confinement.why_not() or pod_network.why_not():
        pytest.skip(reason)
    store = mini_store(tmp_path_factory)
    found = documents(example("ray"), sets=SMALL)
    with started(tmp_path, store) as cluster:
        cluster.pods["gateway"].wait_line("listening: {")
        assert cluster.ask("gateway", 8000, "/livez").status_code == 200
        deploy(cluster, found)
        wait_for(lambda: cluster.ask("gateway", 8000, "/readyz").status_code == 200, cluster.pods)
        assert cluster.ask("towers", 52365, "/api/healthz").status_code == 200

        assert cluster.embed().status_code == 401
        answer = cluster.embed(authorization=f"Bearer {cluster.key}").json()
        monkeypatch.setenv("BABELCLIP_DTYPE", "float32")
        with Client(f"mar:{store}") as client:
            expected = client.embed_texts(TEXTS).vectors
        vectors = np.asarray([one["embedding"] for one in answer["data"]], np.float32)
        np.testing.assert_allclose(vectors, expected, atol=2e-3)

        def replicas(role: str) -> int:
            return len(cluster.processes(role, "ray::ServeReplica"))

        wait_for(lambda: replicas("towers") == 2, cluster.pods)  # Their titles change with each call.
        assert replicas("head") == replicas("gateway") == 0
        for role in ("head", "towers"):  # Where Ray's proxies would listen.
            with pytest.raises(httpx.ConnectError):
                cluster.ask(role, 8000, "/-/healthz")
        wait_for(
            lambda: "\nray_babelclip_items_total{" in cluster.ask("towers", 8080, "/metrics").text,
            cluster.pods,
        )

        gateway = cluster.pods["gateway"]
        gateway.terminate()
        status, printed = gateway.wait_ended()
        assert status == 0, printed
        assert "the gateway answers what is under way" in printed


def test_a_gateway_ends_with_its_node(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """SIGKILL of Ray's process beside it ends the container, which Kubernetes then starts anew."""
    if reason := confinement.why_not() or pod_network.why_not():
        pytest.skip(reason)
    with started(tmp_path, mini_store(tmp_path_factory)) as cluster:
        gateway = cluster.pods["gateway"]
        wait_for(lambda: cluster.ask("gateway", 8000, "/livez").status_code == 200, cluster.pods)
        wait_for(lambda: cluster.processes("gateway", "raylet"), cluster.pods)
        cluster.processes("gateway", "raylet")[0].kill()
        status, printed = gateway.wait_ended()
    assert status == 1, printed
    assert "the node ended with status" in printed
