"""A cluster of several Ray nodes on loopback, in a process of its own, which its head may take along.

    python -m tests.batch.ray_cluster '[{"num_cpus": 2}]'     # a head, and a node for each object

Prints its address and the processes of each node, and ends with its standard input.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.places import REPOSITORY

# Of loopback; 127.0.0.1 itself Ray takes for this machine's outer address when a driver joins.
HOST = "127.0.0.2"
NODE = {"node_ip_address": HOST, "object_store_memory": 80_000_000}
_SETTINGS = {
    "RAY_raylet_start_wait_time_s": "300",  # A machine that runs tests is busy.
    # A node that does not answer is given up after some twenty seconds, not after more than a minute.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "2",
}
_REAPER = "reaper"  # of Ray's own: ends what its starter left


@dataclass(frozen=True)
class RunningCluster:
    """One that runs.

    Attributes:
        address: of the cluster.
        head, nodes: processes by what they are, such as `raylet` and, of the head, `gcs_server`.
    """

    address: str
    head: dict[str, psutil.Process]
    nodes: Sequence[dict[str, psutil.Process]]

    def kill_head(self) -> None:
        """SIGKILL to all of its processes, as when its machine is gone."""
        for process in self.head.values():
            _signal(process, signal.SIGKILL)


def silence(node: dict[str, psutil.Process]) -> None:
    """A node that is there and answers no more, as behind a network that is down; its actors go on."""
    _signal(node["raylet"], signal.SIGSTOP)


@contextmanager
def running_cluster(*nodes: dict[str, Any]) -> Iterator[RunningCluster]:
    """A head without room for actors, and nodes with what is said of each."""
    # Short: paths of sockets are below it.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "ray").mkdir()  # Where Ray notes which cluster was the last one.
        path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "clients")])
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.batch.ray_cluster", json.dumps(nodes), folder],
            env={**os.environ, **_SETTINGS, "PYTHONPATH": path, "RAY_TMPDIR": folder},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        every: list[dict[str, psutil.Process]] = []
        try:
            said = json.loads(process.stdout.readline())
            every = [{kind: psutil.Process(one) for kind, one in node.items()} for node in said["nodes"]]
            yield RunningCluster(said["address"], every[0], every[1:])
        finally:
            for one in (one for node in every for one in node.values()):
                _signal(one, signal.SIGKILL)  # Also what was stopped, and would not end by itself.
            process.stdin.close()
            process.stdout.close()
            process.wait()


def _signal(process: psutil.Process, number: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def main() -> None:
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster()
    wanted, folder = json.loads(sys.argv[1]), sys.argv[2]
    # Any free port: an agent of a head that was killed keeps the usual one for a while.
    head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": folder, "dashboard_agent_listen_port": 0}
    made = [cluster.add_node(wait=False, **NODE, **options) for options in (head, *wanted)]
    nodes = [
        {kind: infos[0].process.pid for kind, infos in node.all_processes.items() if kind != _REAPER}
        for node in made
    ]
    print(json.dumps({"address": cluster.address, "nodes": nodes}), flush=True)
    sys.stdin.read()
    for node in reversed(made):
        node.kill_all_processes(check_alive=False, allow_graceful=False)


if __name__ == "__main__":
    main()
