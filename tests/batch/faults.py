"""Bulk embedding under fire, at size: workers and drivers are killed at random until the job is done.

    python -m tests.batch.faults [--images 20000] [--engine ray] [--kills 20] [--seed 0]
    python -m tests.batch.faults --cluster [--kills 10]

The committed model embeds shards of small JPEGs, once in peace and once while every few seconds a worker or
the driver gets SIGKILL; a driver that was killed is started again. With --cluster the driver joins one of a
head and two nodes, and a node is killed, or silenced so that its actors go on unseen, or the head is killed:
then the driver must end by itself, and the next one joins a new cluster.

Both outputs must be equal to the byte.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from babelclip.cli.console import FAILED, INCOMPLETE
from benchmarks.bulk import finish, make_shards, same, start
from benchmarks.support import towers
from tests.batch.ray_cluster import RunningCluster, running_cluster, silence
from tests.batch.support import finished

ENDS = 100.0  # seconds, after which a driver whose head is gone has ended
WORKERS = 2
SHARD = 500  # images
NODES = ({"num_cpus": WORKERS}, {"num_cpus": WORKERS})  # One has room for all actors when the other is gone.


def victims(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """The workers of a driver: its own processes, or those that Ray calls by the actor's name."""
    return [
        process
        for process in psutil.Process(driver.pid).children(recursive=True)
        if "spawn_main" in " ".join(process.cmdline()) or is_actor(process)
    ]


def is_actor(process: psutil.Process) -> bool:
    """Whether it is an actor of Ray that embeds."""
    return "ShardActor" in " ".join(process.cmdline())


def until_it_ends(
    driver: subprocess.Popen[str], kills: int, chance: random.Random, strike: Callable[[], str]
) -> Counter[str]:
    """Strike every few seconds, so many times at most; how often what was struck."""
    struck: Counter[str] = Counter()
    while driver.poll() is None and struck.total() < kills:
        time.sleep(chance.uniform(2.0, 8.0))
        if driver.poll() is None:
            try:
                struck[strike()] += 1
            except psutil.NoSuchProcess:
                continue
    driver.communicate()
    return struck


def disturb(
    url: str, shards: list[Path], out: Path, kills: int, chance: random.Random, *, ray: bool
) -> dict[str, Any]:
    """Run to the end, killing so many; what was killed, and how often the driver was started."""
    killed: Counter[str] = Counter()
    starts = 0
    while True:
        driver = start(url, shards, out, WORKERS, ray=ray)
        starts += 1

        def strike(driver: subprocess.Popen[str] = driver) -> str:
            workers = victims(driver)
            if workers and chance.random() < 0.7:
                chance.choice(workers).kill()
                return "worker"
            driver.kill()
            return "driver"

        killed += until_it_ends(driver, kills - killed.total(), chance, strike)
        if driver.returncode == 0:
            return {"killed": dict(killed), "starts": starts}
        # Set aside: a shard was hit too often, and the next run tries it again.
        if driver.returncode not in (INCOMPLETE, -signal.SIGKILL):
            raise SystemExit(f"the driver ended with status {driver.returncode}")


def disturb_clusters(
    url: str, shards: list[Path], out: Path, kills: int, chance: random.Random
) -> dict[str, Any]:
    """The same with clusters, of which each may lose one node, and its head."""
    killed: Counter[str] = Counter()
    starts = 0
    while True:
        with running_cluster(*NODES) as cluster:
            driver = start(url, shards, out, WORKERS, ray=True, address=cluster.address)
            starts += 1
            strikes = Strikes(cluster, driver, chance)
            try:
                killed += until_it_ends(driver, kills - killed.total(), chance, strikes.one)
            finally:
                driver.kill()
        if driver.returncode == 0:
            return {"killed": dict(killed), "starts": starts}
        allowed = (INCOMPLETE, -signal.SIGKILL) if strikes.head_is_there else (FAILED,)
        if driver.returncode not in allowed:
            raise SystemExit(f"the driver ended with status {driver.returncode}")


class Strikes:
    """What befalls a cluster, by chance."""

    def __init__(self, cluster: RunningCluster, driver: subprocess.Popen[str], chance: random.Random) -> None:
        self._cluster, self._driver, self._chance = cluster, driver, chance
        self._nodes = list(cluster.nodes)
        self.head_is_there = True

    def one(self) -> str:
        """Strike, and say what."""
        kinds = ["worker", "worker", "driver"]
        if len(self._nodes) > 1:
            kinds += ["node", "silence"]
        if self.head_is_there:
            kinds.append("head")
        kind = self._chance.choice(kinds)
        if kind == "worker":
            workers = [
                child
                for node in self._nodes
                for child in node["raylet"].children(recursive=True)
                if is_actor(child)
            ]
            if not workers:
                raise psutil.NoSuchProcess(0)
            self._chance.choice(workers).kill()
        elif kind == "driver":
            self._driver.kill()
        elif kind == "head":
            self._cluster.kill_head()
            self.head_is_there = False
            self._driver.wait(ENDS)
        else:
            node = self._nodes.pop(self._chance.randrange(len(self._nodes)))
            if kind == "silence":
                silence(node)
            else:
                for process in node.values():
                    process.kill()
        return kind


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.batch.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--cluster", action="store_true", help="of several nodes, which are lost, too")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    url = f"mar:{towers.mini_store().resolve()}"
    work = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        shards = make_shards(work, given.images, SHARD)
        calm, _ = finish(start(url, shards, work / "calm", WORKERS))
        chance = random.Random(given.seed)
        if given.cluster:
            found = disturb_clusters(url, shards, work / "out", given.kills, chance)
        else:
            found = disturb(url, shards, work / "out", given.kills, chance, ray=given.engine == "ray")
        found["outputs"] = len(finished(work / "out"))
        found["equal"] = found["outputs"] == calm["shards"] and same(work / "out", work / "calm")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print("result: " + json.dumps(found), flush=True)
    if not found["equal"]:
        raise SystemExit("the outputs differ")


if __name__ == "__main__":
    main()
