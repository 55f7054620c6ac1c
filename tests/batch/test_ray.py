"""Actors of a Ray cluster, killed as processes are: the output is that of processes, to the byte."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from batch import jobs
from batch.engines.base import EngineError
from batch.engines.ray import RayWorkers
from batch.job import Job
from batch.jobs import Outcome
from batch.storage.opening import open_storage
from batch.worker import Task
from tests.batch.ray_cluster import HOST, NODE
from tests.batch.support import (
    KILL,
    WAIT,
    MemoryModel,
    contents,
    embed,
    finished,
    image_job,
    make_shards,
    wait_for,
)
from tests.places import REPOSITORY

pytestmark = pytest.mark.slow  # starts a cluster, and kills

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
DRIVER = """
import sys
from batch import jobs
from batch.engines.ray import RayWorkers
from batch.storage.opening import open_storage
from tests.batch.support import MemoryModel, image_job
jobs.embed(
    image_job(sys.argv[1]),
    open_storage(sys.argv[2]),
    MemoryModel(),
    lambda task: RayWorkers(task, address=sys.argv[3], actors=1),
)
"""
ALONE = """
import json, os, sys
import psutil
from batch import jobs
from batch.engines.ray import RayWorkers
from batch.storage.opening import open_storage
from tests.batch.support import MemoryModel, image_job
listening, modes = set(), set()

class Watched(RayWorkers):
    def events(self):
        modes.add(os.environ.get("RAY_AUTH_MODE"))
        for process in psutil.Process().children(recursive=True):
            try:
                found = process.net_connections("inet")
            except psutil.NoSuchProcess:
                continue
            listening.update(one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN)
        return super().events()

outcome = jobs.embed(
    image_job(sys.argv[1]),
    open_storage(sys.argv[2]),
    MemoryModel(),
    lambda task: Watched(task, actors=1),
)
assert "RAY_AUTH_MODE" not in os.environ
print(json.dumps({"embedded": outcome.embedded, "modes": list(modes), "listening": sorted(listening)}))
"""
ray: Any = pytest.importorskip("ray", reason="ray is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes on loopback: one for the driver, one for the actors."""
    from ray.cluster_utils import Cluster

    # Short: paths of sockets are below it.
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        (Path(folder) / "ray").mkdir()  # Where Ray notes which cluster was the last one.
        made: Any = Cluster(
            initialize_head=True,
            head_node_args={**NODE, "num_cpus": 0, "include_dashboard": False, "temp_dir": folder},
        )
        try:
            made.add_node(**NODE, num_cpus=2, resources={"here": 2})
            made.add_node(**NODE, num_cpus=2, resources={"there": 2})
            ray.init(
                address=made.address,
                _node_ip_address=HOST,
                log_to_driver=False,
                configure_logging=False,
            )
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


def embed_by_ray(job: Job, folder: Path, model: MemoryModel | None = None, **options: Any) -> Outcome:
    """The job, by two actors."""
    model = model or MemoryModel()

    def engine(task: Task) -> RayWorkers:
        return RayWorkers(task, **{"actors": 2, **options})

    return jobs.embed(job, open_storage(folder), model, engine, readers=2)


def test_actors_give_the_bytes_of_processes(cluster: Any, tmp_path: Path) -> None:
    """Which engine computed does not show."""
    make_shards(tmp_path / "in", 4)
    job = image_job(tmp_path / "in")
    outcome = embed_by_ray(job, tmp_path / "ray")
    assert (outcome.embedded, outcome.counts.items) == (4, 16)
    embed(job, tmp_path / "local")
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_a_killed_actor_costs_its_shard_again(cluster: Any, tmp_path: Path) -> None:
    """Another takes its place, as for processes."""
    make_shards(tmp_path / "in", 4, i1_2=KILL + os.fsencode(tmp_path / "killed"))
    job = image_job(tmp_path / "in")
    outcome = embed_by_ray(job, tmp_path / "ray")
    assert (tmp_path / "killed").exists()
    assert (outcome.embedded, outcome.failed) == (4, [])
    embed(job, tmp_path / "local")
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_a_poisoned_shard_is_set_aside(cluster: Any, tmp_path: Path) -> None:
    """It kills actor after actor; the others' shards are embedded."""
    make_shards(tmp_path / "in", 3, i1_2=KILL)
    outcome = embed_by_ray(image_job(tmp_path / "in"), tmp_path / "ray")
    assert [one["shard"] for one in outcome.failed] == [1]
    assert outcome.embedded == 2


def test_a_model_that_cannot_be_loaded_ends_the_job(cluster: Any, tmp_path: Path) -> None:
    """With the reason, once."""
    make_shards(tmp_path / "in", 1)
    with pytest.raises(EngineError, match="no such model"):
        embed_by_ray(image_job(tmp_path / "in"), tmp_path / "ray", MemoryModel(missing=True))


def test_a_cluster_without_room_is_said(cluster: Any, tmp_path: Path) -> None:
    """Instead of waiting for a card that nobody has."""
    make_shards(tmp_path / "in", 1)
    with pytest.raises(EngineError, match="no room for an actor"):
        embed_by_ray(image_job(tmp_path / "in"), tmp_path / "ray", actors=None, resources={"HPU": 1})


def test_a_lost_node_costs_its_shards_again(cluster: Any, tmp_path: Path) -> None:
    """Its actor is replaced on another one; the output is that of an undisturbed run."""
    make_shards(tmp_path / "in", 4, i0_1=WAIT + os.fsencode(tmp_path / "go"))
    job = image_job(tmp_path / "in")
    node = cluster.add_node(**NODE, num_cpus=0, resources={"doomed": 1})
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            embed_by_ray, job, tmp_path / "ray", actors=1, cpus=0.0, resources={"doomed": 0.5}
        )
        try:
            wait_for(tmp_path / "go.met")
            cluster.remove_node(node, allow_graceful=False)
            cluster.add_node(**NODE, num_cpus=0, resources={"doomed": 1})
        finally:
            (tmp_path / "go").touch()
        outcome = running.result()
    assert (outcome.embedded, outcome.failed) == (4, [])
    embed(job, tmp_path / "local")
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_a_killed_driver_is_gone_on_from(cluster: Any, tmp_path: Path) -> None:
    """The cluster ends its actors; the next driver embeds what has no output."""
    make_shards(tmp_path / "in", 4, i2_1=WAIT + os.fsencode(tmp_path / "go"))
    job = image_job(tmp_path / "in")
    script = tmp_path / "driver.py"
    script.write_text(DRIVER, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'clients'}"}
    words = [str(tmp_path / "in"), str(tmp_path / "ray"), cluster.address]
    process = subprocess.Popen([sys.executable, str(script), *words], env=environment)
    try:
        wait_for(tmp_path / "go.met")
    finally:
        process.kill()
        process.wait()
    done = finished(tmp_path / "ray")
    assert done == {0, 1}
    (tmp_path / "go").touch()
    outcome = embed_by_ray(job, tmp_path / "ray")
    assert outcome.embedded == 2
    embed(job, tmp_path / "local")
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_a_cluster_of_this_machine_listens_on_loopback(tmp_path: Path) -> None:
    """Whoever reaches the one that is started for a job could run programs on it; it asks for a token."""
    make_shards(tmp_path / "in", 2)
    script = tmp_path / "driver.py"
    script.write_text(ALONE, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'clients'}"}
    words = [sys.executable, str(script), str(tmp_path / "in"), str(tmp_path / "ray")]
    said = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = json.loads(said.splitlines()[-1])
    assert found["embedded"] == 2
    assert found["modes"] == ["token"]
    assert found["listening"]
    assert set(found["listening"]) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
