"""How a cluster of this machine is started: alone, behind a token, and with patience."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from babelclip.ray_serve import cluster

PATIENCE = "RAY_raylet_start_wait_time_s"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Those that Ray is started in; in place of Ray there is nothing."""
    seen: list[dict[str, str]] = []
    monkeypatch.setattr(os, "environ", {**os.environ})
    os.environ.pop(PATIENCE, None)

    def init(**settings: Any) -> None:
        assert (settings["address"], settings["_node_ip_address"]) == ("local", "127.0.0.1")
        seen.append(dict(os.environ))

    context = SimpleNamespace(gcs_address="127.0.0.1:1")
    ray = SimpleNamespace(init=init, get_runtime_context=lambda: context, shutdown=lambda: None)
    monkeypatch.setattr(cluster, "import_ray", lambda: ray)
    return seen


def test_a_slow_machine_has_minutes_to_start(environment: list[dict[str, str]], tmp_path: Path) -> None:
    """Ray is told of it before it is imported; who says another number of seconds has it so."""
    with cluster.local_cluster(tmp_path):
        pass
    assert int(environment[0][PATIENCE]) == cluster.START_SECONDS >= 300
    os.environ[PATIENCE] = "7"
    with cluster.local_cluster(tmp_path) as started:
        assert Path(environment[1]["RAY_AUTH_TOKEN_PATH"]) == started.token
    assert environment[1][PATIENCE] == "7"
