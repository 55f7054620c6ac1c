"""Bulk embedding of shards: rate, what many images cost more than few, memory, and what a kill costs.

python -m benchmarks.bulk [--images 200000] [--engine ray] [--store FOLDER] [--quick]

images_per_s         of all images, from the first worker that is ready to the last output
of_single_process    of the rate of one process that uses all cores and has the images in memory
of_plain_loop        of a loop of 32 images at a time over the same shards, as one would write it
cost_growth          seconds of an image among all, by those of one among the first hundredth
peak_memory_mb       of the driver; growth_mb is from its half to its end
resumed_share        SIGKILL at half, and again: images that were embedded twice; `equal` to the run before
ray_of_local         the rate of --engine ray by that of local, where Ray is installed
"""

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from batch import output
from batch.estimate import processes
from benchmarks.ingest import pictures
from benchmarks.support import report, towers
from benchmarks.support.options import make_parser, parse

SHARD = 2000  # images
DISTINCT = 2000  # pictures; the same ones stand in every shard, by other names
# In a process of its own, which finds no `handlers` but the archive's.
ALONE = """
import json, sys, tarfile, time
from pathlib import Path
from babelclip import Client

url, shards, plain = sys.argv[1], sys.argv[2:-1], sys.argv[-1] == "plain"

def images():
    for shard in shards:
        with tarfile.open(shard) as archive:
            for member in archive:
                yield archive.extractfile(member).read()

with Client(url) as client:
    held = [] if plain else list(images())
    client.embed_images(held[:256] or [next(images())], errors="return")
    began, count, group = time.perf_counter(), 0, []
    if plain:
        for image in images():
            group.append(image)
            if len(group) == 32:
                count += len(client.embed_images(group, errors="return"))
                group = []
        count += len(client.embed_images(group, errors="return")) if group else 0
    else:
        count = len(client.embed_images(held, errors="return"))
    print(count / (time.perf_counter() - began))
"""


def make_shards(folder: Path, images: int, shard: int) -> list[Path]:
    """Tars of JPEGs of 160×120."""
    drawn = folder / "drawn"
    pictures(drawn, min(images, DISTINCT))
    held = [path.read_bytes() for path in sorted(drawn.rglob("*.jpg"))]
    shutil.rmtree(drawn)
    made = []
    for first in range(0, images, shard):
        path = folder / f"{first // shard:06d}.tar"
        with tarfile.open(path, "w") as archive:
            for number in range(first, min(first + shard, images)):
                data = held[number % len(held)]
                info = tarfile.TarInfo(f"{number:09d}.jpg")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        made.append(path)
    return made


def alone(url: str, shards: list[Path], *, plain: bool) -> float:
    """Images a second of one process with all cores."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", ALONE, url, *map(str, shards), "plain" if plain else "held"],
        env={**os.environ, "PYTHONPATH": str(towers.REPOSITORY / "clients")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout)


def start(
    url: str, shards: list[Path], out: Path, workers: int, *, ray: bool = False
) -> subprocess.Popen[str]:
    """`python -m batch embed`."""
    engine = ["--engine", "ray", "--num-actors"] if ray else ["--processes"]
    command = [sys.executable, "-m", "batch", "embed", *map(str, shards), str(out), "--url", url]
    return subprocess.Popen(
        [*command, *engine, str(workers)], cwd=towers.REPOSITORY, stdout=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[dict[str, Any], list[float]]:
    """What a run says at its end, and its resident megabytes as it went."""
    memory = []
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            memory.append(watched.memory_info().rss / 1e6)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.2)
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"embedding ended with status {process.returncode}")
    result: dict[str, Any] = json.loads(said.splitlines()[-1].removeprefix("result: "))
    return result, memory


def rate(result: dict[str, Any]) -> float:
    """Images a second of a run."""
    return float(result["counts"]["items"] / result["seconds"])


def killed(url: str, shards: list[Path], out: Path, workers: int) -> dict[str, Any]:
    """A run that is killed once half of the outputs are there, and the one after it."""
    process = start(url, shards, out, workers)
    while len(output.finished(out)) < len(shards) // 2:
        if process.poll() is not None:
            raise SystemExit("embedding ended before it was killed")
        time.sleep(0.01)
    process.kill()
    process.communicate()
    done = output.finished(out)
    kept = sum(output.read_metadata(output.part_path(out, number))["items"] for number in done)
    status = json.loads((out / "status.json").read_text(encoding="utf-8"))
    rest, _ = finish(start(url, shards, out, workers))
    assert rest["embedded"] == len(shards) - len(done)
    # The status is up to a second old: what it has not seen, of shards under way, is not counted.
    return {"again": max(0, status["items"] - kept), "kept": kept, "rest": rest["counts"]["items"]}


def same(one: Path, other: Path) -> bool:
    """Whether two outputs are equal to the byte."""
    pairs = zip(output.parts(one), output.parts(other), strict=True)
    return all(a.read_bytes() == b.read_bytes() for a, b in pairs)


def measure(
    work: Path, images: int, shard: int, url: str, *, ray: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The result, and the figures behind it."""
    workers = processes(1)
    shards = make_shards(work, images, shard)
    few = shards[: max(workers, len(shards) // 100)]
    held = few[: max(1, 10_000 // shard)]
    single, plain = alone(url, held, plain=False), alone(url, held, plain=True)
    small, _ = finish(start(url, few, work / "few", workers))
    whole, memory = finish(start(url, shards, work / "whole", workers))
    resumed = killed(url, shards, work / "killed", workers)
    half = memory[len(memory) // 2]
    result = {
        "images": whole["counts"]["items"],
        "images_per_s": round(rate(whole), 1),
        "of_single_process": round(rate(whole) / single, 3),
        "of_plain_loop": round(rate(whole) / plain, 3),
        "cost_growth": round(rate(small) / rate(whole), 3),
        "peak_memory_mb": round(max(memory), 1),
        "growth_mb": round(max(memory) - half, 1),
        "resumed_share": round(resumed["again"] / images, 4),
        "equal": same(work / "whole", work / "killed"),
        "ray_of_local": None,
    }
    details = {
        "workers": workers,
        "single_per_s": single,
        "plain_per_s": plain,
        "small": small,
        "resumed": resumed,
    }
    if ray:
        by_ray, _ = finish(start(url, shards, work / "ray", workers, ray=True))
        result["ray_of_local"] = round(rate(by_ray) / rate(whole), 3)
        result["equal"] = result["equal"] and same(work / "whole", work / "ray")
    return result, details


def main() -> None:
    parser = make_parser("bulk", __doc__)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--shard-size", type=int, default=SHARD)
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="ray: measure it, too")
    parser.add_argument("--store", type=Path, help="archives of another model than the committed one")
    parser.add_argument("--work", type=Path, help="where shards and outputs are made, and removed at the end")
    given = parse(parser, {"images": 400, "shard_size": 50})
    ray = given.engine == "ray"
    if ray and importlib.util.find_spec("ray") is None:
        parser.error("--engine ray needs Ray: install the dependency group ray")
    store = given.store or towers.mini_store()
    work = Path(tempfile.mkdtemp(prefix="bulk-", dir=given.work))
    try:
        result, details = measure(work, given.images, given.shard_size, f"mar:{store.resolve()}", ray=ray)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    report.table("bulk embedding", list(result), [list(result.values())])
    report.finish("bulk", result, details)


if __name__ == "__main__":
    main()
