"""Bulk embedding of shards: rate, what many images cost more than few, memory, and what a kill costs.

python -m benchmarks.bulk [--images 200000] [--engine ray] [--store FOLDER] [--quick]

images_per_s         of all images, from the first worker that is ready to the last output
of_single_process    of the rate of one process that uses all cores and has the images in memory
of_plain_loop        of a loop of 32 images at a time over the same shards, as one would write it
of_peer              of what clip-retrieval's inference does (benchmarks/peers/clip_inference.py), where
                     webdataset is installed; peer_cosine: the least of its vectors with those of here
cost_growth          seconds of an image among all, by those of one among the first hundredth
peak_memory_mb       of the driver; growth_mb is from its half to its end
resumed_share        SIGKILL at half, and again: images that were embedded twice; `equal` to the run before
ray_of_local         the rate of --engine ray by that of local, where Ray is installed

Once all images are embedded. What that is compared with has the first 8,000 of them, what is killed and what
Ray does the first tenth, so that the whole takes little longer than its one long leg.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from pyarrow import parquet

from babelclip.model_store.archives import read_pair
from batch import output
from batch.estimate import processes
from batch.storage.local import LocalStorage
from benchmarks.ingest import pictures
from benchmarks.support import report, towers
from benchmarks.support.options import make_parser, parse

SHARD = 2000  # images
DISTINCT = 2000  # pictures; the same ones stand in every shard, by other names
COMPARED = 8000  # images of the legs that the whole is compared with
TOLD_EVERY = 30.0  # seconds between two lines of a long leg
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


def peer(archive: Path, shards: list[Path], out: Path) -> float:
    """Images a second of what clip-retrieval's inference does, with all cores."""
    command = [sys.executable, "-m", "benchmarks.peers.clip_inference", str(archive), str(out)]
    done = subprocess.run(
        [*command, *map(str, shards)], cwd=towers.REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return float(found["images"] / found["seconds"])


def agreement(theirs: Path, ours: Path) -> float:
    """The least cosine of the peer's vectors with ours, of the first shard."""
    from benchmarks.peers.clip_inference import read

    known = read(theirs)
    rows = parquet.read_table(ours / output.part_name(0), columns=["source", "vector"]).to_pylist()
    names = [row["source"].rpartition("#")[2].removesuffix(".jpg") for row in rows]
    pairs = _unit([known[name] for name in names]) * _unit([row["vector"] for row in rows])
    return float(pairs.sum(axis=1).min())


def _unit(rows: list[Any]) -> NDArray[np.float32]:
    found = np.asarray(rows, dtype=np.float32)
    unit: NDArray[np.float32] = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


def start(
    url: str, shards: list[Path], out: Path, workers: int, *, ray: bool = False, address: str = ""
) -> subprocess.Popen[str]:
    """`python -m batch embed`; with Ray on the cluster at the address, or on one of its own."""
    engine = ["--engine", "ray", "--num-actors"] if ray else ["--processes"]
    if address:
        engine = ["--address", address, *engine]
    command = [sys.executable, "-m", "batch", "embed", *map(str, shards), str(out), "--url", url]
    return subprocess.Popen(
        [*command, *engine, str(workers)], cwd=towers.REPOSITORY, stdout=subprocess.PIPE, text=True
    )


def finish(
    process: subprocess.Popen[str], watch: Callable[[], None] = lambda: None
) -> tuple[dict[str, Any], list[float]]:
    """What a run says at its end, and its resident megabytes as it went; `watch` is called now and then."""
    memory = []
    watched = psutil.Process(process.pid)
    told = time.monotonic()
    while process.poll() is None:
        try:
            memory.append(watched.memory_info().rss / 1e6)
        except psutil.NoSuchProcess:
            break
        if time.monotonic() - told > TOLD_EVERY:
            watch()
            told = time.monotonic()
        time.sleep(0.2)
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"embedding ended with status {process.returncode}")
    result: dict[str, Any] = json.loads(said.splitlines()[-1].removeprefix("result: "))
    return result, memory


def leg(
    name: str, url: str, shards: list[Path], out: Path, workers: int, *, ray: bool = False
) -> tuple[dict[str, Any], list[float]]:
    """A run from its beginning to its end, with a line of how far it is now and then."""

    def watch() -> None:
        path = out / "status.json"
        if path.exists():
            status = json.loads(path.read_text(encoding="utf-8"))
            tell(f"{name}, so far {status['items']:,} images", status["items_per_s"])

    result, memory = finish(start(url, shards, out, workers, ray=ray), watch)
    tell(name, rate(result))
    return result, memory


def tell(leg: str, per_s: float) -> None:
    """A line of a leg."""
    print(f"bulk: {leg}: {per_s:,.1f} images/s", flush=True)


def rate(result: dict[str, Any]) -> float:
    """Images a second of a run."""
    return float(result["counts"]["items"] / result["seconds"])


def killed(url: str, shards: list[Path], out: Path, workers: int) -> dict[str, Any]:
    """A run that is killed once half of the outputs are there, and the one after it."""
    process = start(url, shards, out, workers)
    while len(output.finished(LocalStorage(out))) < len(shards) // 2:
        if process.poll() is not None:
            raise SystemExit("embedding ended before it was killed")
        time.sleep(0.01)
    process.kill()
    process.communicate()
    done = output.finished(LocalStorage(out))
    kept = sum(output.read_metadata(LocalStorage(out), output.part_name(number))["items"] for number in done)
    status = json.loads((out / "status.json").read_text(encoding="utf-8"))
    rest, _ = finish(start(url, shards, out, workers))
    assert rest["embedded"] == len(shards) - len(done)
    tell("what the killed one had left", rate(rest))
    # The status is up to a second old: what it has not seen, of shards under way, is not counted.
    items = rest["counts"]["items"]
    return {"again": max(0, status["items"] - kept), "kept": kept, "rest": items, "images": kept + items}


def same(some: Path, whole: Path) -> bool:
    """Whether outputs are equal to the byte to those of the same shards in another folder."""
    return all(
        (some / output.part_name(number)).read_bytes() == (whole / output.part_name(number)).read_bytes()
        for number in output.finished(LocalStorage(some))
    )


def measure(
    work: Path, images: int, shard: int, store: Path, *, ray: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The result, and the figures behind it."""
    workers = processes(1)
    url = f"mar:{store}"
    shards = make_shards(work, images, shard)
    few = shards[: max(workers, len(shards) // 100)]
    tenth = shards[: max(2 * workers, len(shards) // 10)]
    compared = compare(url, store, shards[: max(workers, COMPARED // shard)], work / "peer")
    small, _ = leg("the first hundredth", url, few, work / "few", workers)
    whole, memory = leg("all", url, shards, work / "whole", workers)
    resumed = killed(url, tenth, work / "killed", workers)
    half = memory[len(memory) // 2]
    of_peer = peer_cosine = None
    if compared["peer"]:
        of_peer = round(rate(whole) / compared["peer"], 3)
        peer_cosine = round(agreement(work / "peer", work / "whole"), 5)
    result = {
        "images": whole["counts"]["items"],
        "images_per_s": round(rate(whole), 1),
        "of_single_process": round(rate(whole) / compared["single process"], 3),
        "of_plain_loop": round(rate(whole) / compared["plain loop"], 3),
        "of_peer": of_peer,
        "peer_cosine": peer_cosine,
        "cost_growth": round(rate(small) / rate(whole), 3),
        "peak_memory_mb": round(max(memory), 1),
        "growth_mb": round(max(memory) - half, 1),
        "resumed_share": round(resumed["again"] / resumed["images"], 4),
        "equal": same(work / "killed", work / "whole"),
        "ray_of_local": None,
    }
    details = {"workers": workers, "compared_per_s": compared, "small": small, "resumed": resumed}
    if ray:
        by_ray, _ = leg("a tenth by Ray", url, tenth, work / "ray", workers, ray=True)
        result["ray_of_local"] = round(rate(by_ray) / rate(whole), 3)
        result["equal"] = result["equal"] and same(work / "ray", work / "whole")
    return result, details


def compare(url: str, store: Path, shards: list[Path], out: Path) -> dict[str, float]:
    """Images a second of what else embeds these shards, by name; of the peer 0 where it cannot run."""
    found = {
        "single process": alone(url, shards, plain=False),
        "plain loop": alone(url, shards, plain=True),
        "peer": 0.0,
    }
    if importlib.util.find_spec("webdataset") is not None:
        found["peer"] = peer(read_pair(store, None).archives["vision"].path, shards, out)
    for name, per_s in found.items():
        tell(name, per_s)
    return found


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
        result, details = measure(work, given.images, given.shard_size, store.resolve(), ray=ray)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    report.table("bulk embedding", list(result), [list(result.values())])
    report.finish("bulk", result, details)


if __name__ == "__main__":
    main()
