"""What an interruption costs: an `add` of a folder to an index is killed at nine tenths, and run again.

    python -m benchmarks.ingest [--images 20000] [--store FOLDER] [--quick]

A process embeds the folder with the committed model and gets SIGKILL. Another goes on from there. The index
must then equal that of an uninterrupted run, which is timed; and next to nothing may be embedded twice.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from babelclip.index import DETAILS, open_index
from benchmarks.support import report, towers
from benchmarks.support.options import make_parser, parse

KILLED_AT = 0.9
# Of the vectors of two runs: batches may be cut in other places, and sum in another order.
TOLERANCE = 1e-4
# In a process of its own, which finds no `handlers` but the archive's.
CHILD = """
import json, sys
from pathlib import Path
from babelclip import Client
from babelclip.index import IndexNotFound, Settings, create_index, open_index
from babelclip.ingest.add import add
from babelclip.ingest.sources.folder import FolderSource
from babelclip.testing import InMemoryTransport

address, folder, url, stop = sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])
client = Client(url, transport=InMemoryTransport() if url == "memory" else None)

def show(report):
    if report.done >= stop * report.total:
        print(report.done, flush=True)
        sys.stdin.read()  # Until it is killed.

try:
    index = open_index(address)
except IndexNotFound:
    found = client.embed_texts(["babelclip"])
    index = create_index(address, Settings(space=found.space, dim=found.dim, version=found.version))
with index:
    done = add(index, client, FolderSource(folder), progress=show if stop < 1 else None)
print(json.dumps([done.listed, done.embedded, done.unchanged, done.failed, done.seconds]))
"""


def pictures(folder: Path, count: int) -> None:
    """`count` JPEGs of 160×120, each unlike the others, a thousand in a folder."""
    for number in range(count):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        blocks = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((160, 120), Image.Resampling.BILINEAR).save(path, quality=85)


def start(index: Path, folder: Path, url: str, stop: float) -> subprocess.Popen[str]:
    """An `add` that waits to be killed at this share of the images; at 1 it goes to its end."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", CHILD, str(index), str(folder), url, str(stop)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(towers.REPOSITORY / "clients")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> list[Any]:
    """What a whole run says: listed, embedded, unchanged, failed, seconds."""
    said, _ = process.communicate("")
    if process.returncode:
        raise SystemExit(f"adding failed with status {process.returncode}")
    found: list[Any] = json.loads(said.splitlines()[-1])
    return found


def rows(index: Path) -> Iterator[tuple[str, Any, Any]]:
    """By id: what is in a row, and its vector."""
    for batch in open_index(index).scan(columns=(*DETAILS, "thumbnail", "vector")):
        for row in batch:
            yield row.id, {k: v for k, v in vars(row).items() if k != "vector"}, row.vector


def equal(one: Path, other: Path) -> bool:
    """Whether two indexes have the same rows and, but for rounding, the same vectors."""
    known = {id_: (values, vector) for id_, values, vector in rows(one)}
    count = 0
    for id_, values, vector in rows(other):
        count += 1
        found = known.get(id_)
        if found is None or found[0] != values or (found[1] is None) != (vector is None):
            return False
        if vector is not None and np.abs(found[1] - vector).max() > TOLERANCE:
            return False
    return count == len(known)


def measure(work: Path, images: int, url: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The result, and the counts behind it."""
    folder, killed, whole = work / "images", work / "killed.index", work / "whole.index"
    pictures(folder, images)
    process = start(killed, folder, url, KILLED_AT)
    assert process.stdout is not None
    at = int(process.stdout.readline())
    process.kill()
    process.communicate()
    committed = open_index(killed).count()
    print(f"ingest: killed at {at} of {images} images, {committed} of which are committed", flush=True)
    _, embedded, unchanged, failed, seconds = finish(start(killed, folder, url, 1))
    listed, _, _, _, whole_seconds = finish(start(whole, folder, url, 1))
    result = {
        "images": listed,
        "killed_at": round(at / listed, 4),
        "embedded_again_share": round(embedded / listed, 4),
        "equal": equal(killed, whole) and embedded + committed == listed and failed == 0,
        "images_per_s": round(listed / whole_seconds, 1),
    }
    details = {"committed": committed, "unchanged": unchanged, "rest_s": seconds, "whole_s": whole_seconds}
    return result, details


def main() -> None:
    parser = make_parser("ingest", __doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--store", type=Path, help="archives of another model than the committed one")
    given = parse(parser, {"images": 300})
    store = given.store or towers.mini_store()
    work = Path(tempfile.mkdtemp(prefix="ingest-"))
    try:
        result, details = measure(work, given.images, f"mar:{store.resolve()}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    report.table("adding to an index", list(result), [list(result.values())])
    report.finish("ingest", result, details)


if __name__ == "__main__":
    main()
