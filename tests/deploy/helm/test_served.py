"""A pod as the chart renders it, run without a cluster: its environment, its mounts, its probes, its end."""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from babelclip.keys.file import add
from tests.deploy import confinement
from tests.deploy.confinement import Confined, Tree
from tests.deploy.helm.charts import documents, example, of_kind
from tests.deploy.test_confined import own_tree
from tests.shared import mini_store

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# Where another pod would come from: TorchServe listens on 127.0.0.1 and not there.
ELSEWHERE = "127.0.0.2"
TORCHSERVE = (7070, 7071, 8080, 8081, 8082, 8083)


def get(container: Confined, address: str, **sent: Any) -> httpx.Response:
    """What an address answers, from inside."""
    return container.inside(lambda: httpx.get(address, timeout=60.0, trust_env=False, **sent))


def is_open(container: Confined, port: int) -> bool:
    """Whether another pod would reach something at a port."""
    try:
        get(container, f"http://{ELSEWHERE}:{port}/")
    except httpx.ConnectError:
        return False
    except httpx.HTTPError:
        pass
    return True


def test_the_pod_serves(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With what the chart says and nothing else: keys, probes, all metrics at one port, and an end."""
    (deployment,) = of_kind(documents(example("cpu")), "Deployment").values()
    pod = deployment["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    if reason := confinement.why_not():
        pytest.skip(reason)
    state, running, secret = (tmp_path / name for name in ("state", "run", "secret"))
    for folder in (state, running, secret):
        folder.mkdir()
    key = add(secret / "keys.json", "shop")
    os.chmod(secret / "keys.json", pod["volumes"][-1]["secret"]["defaultMode"])
    at = {mount["name"]: mount["mountPath"] for mount in server["volumeMounts"]}
    tree = own_tree()
    given = {entry["name"]: entry["value"] for entry in server["env"]}
    with confinement.run(
        Tree(tree.root, tree.folders, tree.links, {**tree.environment, **given}),
        ["/opt/babelclip/deploy/containers/entrypoint", *server.get("args", [])],
        scratch=tmp_path,
        writable={at["state"]: state, at["run"]: running},
        readable={at["models"]: mini_store(tmp_path_factory), at["keys"]: secret},
    ) as container:
        ready = json.loads(container.wait_line("ready: {").partition("ready: ")[2])
        assert ready["keys_file"] == f"{at['keys']}/keys.json"
        ports = {port["name"]: port["containerPort"] for port in server["ports"]}
        for kind in ("startup", "readiness", "liveness"):
            probe = server[f"{kind}Probe"]["httpGet"]
            answer = get(container, f"http://{ELSEWHERE}:{ports[probe['port']]}{probe['path']}")
            assert answer.status_code == 200, kind
        for path, metric in (
            ("/metrics", "babelclip_gateway_tower_items"),
            ("/metrics/engine", "babelclip_items_total"),
            ("/metrics/queues", "babelclip_queue_depth"),
        ):
            assert metric in get(container, f"http://{ELSEWHERE}:{ports['metrics']}{path}").text
        models = f"http://{ELSEWHERE}:{ports['http']}/v1/models"
        assert get(container, models).status_code == 401
        assert get(container, models, headers={"authorization": f"Bearer {key}"}).status_code == 200
        assert {port for port in ports.values() if is_open(container, port)} == {*ports.values()}
        assert not [port for port in TORCHSERVE if is_open(container, port)]
        container.terminate()
        status, printed = container.wait_ended()
    assert status == 0, printed
