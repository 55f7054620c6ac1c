"""Bulk embedding under fire, at size: workers and drivers are killed at random until the job is done.

    python -m tests.batch.faults [--images 20000] [--engine ray] [--kills 20] [--seed 0]

The committed model embeds shards of small JPEGs, once in peace and once while every few seconds a worker or
the driver gets SIGKILL; a driver that was killed is started again. Both outputs must be equal to the byte.
"""

import argparse
import json
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bulk import finish, make_shards, same, start
from benchmarks.support import towers
from tests.batch.support import finished

WORKERS = 2
SHARD = 500  # images


def victims(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """The workers of a driver: its own processes, or those that Ray calls by the actor's name."""
    found = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        words = " ".join(process.cmdline())
        if "spawn_main" in words or "ShardActor" in words:
            found.append(process)
    return found


def disturb(
    url: str, shards: list[Path], out: Path, kills: int, chance: random.Random, *, ray: bool
) -> dict[str, Any]:
    """Run to the end, killing so many; what was killed, and how often the driver was started."""
    killed = {"worker": 0, "driver": 0}
    starts = 0
    while True:
        driver = start(url, shards, out, WORKERS, ray=ray)
        starts += 1
        while driver.poll() is None and sum(killed.values()) < kills:
            time.sleep(chance.uniform(2.0, 8.0))
            if driver.poll() is not None:
                break
            try:
                workers = victims(driver)
                if workers and chance.random() < 0.7:
                    chance.choice(workers).kill()
                    killed["worker"] += 1
                else:
                    driver.kill()
                    killed["driver"] += 1
            except psutil.NoSuchProcess:
                continue
        driver.communicate()
        if driver.returncode == 0:
            return {"killed": killed, "starts": starts, "outputs": len(finished(out))}
        if driver.returncode > 1:  # 1: a shard was hit too often; the next run tries it again
            raise SystemExit(f"the driver ended with status {driver.returncode}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.batch.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    url = f"mar:{towers.mini_store().resolve()}"
    work = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        shards = make_shards(work, given.images, SHARD)
        calm, _ = finish(start(url, shards, work / "calm", WORKERS))
        chance = random.Random(given.seed)
        found = disturb(url, shards, work / "out", given.kills, chance, ray=given.engine == "ray")
        found["equal"] = found["outputs"] == calm["shards"] and same(work / "out", work / "calm")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print("result: " + json.dumps(found), flush=True)
    if not found["equal"]:
        raise SystemExit("the outputs differ")


if __name__ == "__main__":
    main()
