"""Tars of images → .npy as clip-retrieval's inference makes them, for comparison.

    python -m benchmarks.peers.clip_inference ARCHIVE OUT SHARD...

Its reader, mapper and writer with packages of today: webdataset reads tars in the processes of a DataLoader,
which decode and resize with Pillow; one process embeds batches of 256 with torch and all cores, keeps vectors
as float16, and writes them with the images' names at the end. clip-retrieval 2.45 itself is not installed
beside this: it wants numpy below 2, pyarrow below 16 and open_clip below 3, and loads no model but those it
knows. The tower is the program in a vision tower's archive, and torch runs it.

A process for each core prepares images instead of its four, so that none waits for the other's core. The last
line is JSON: images, and seconds from the tower being loaded to the last file being written.
"""

import argparse
import io
import json
import time
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import torch
import webdataset
from numpy.typing import NDArray
from pyarrow import parquet
from torch.utils.data import DataLoader

from benchmarks.peers.plain_handler import preprocess
from handlers.runtime.machine import usable_cores

BATCH = 256  # clip-retrieval's own, as is the number of batches that a process prepares ahead
AHEAD = 2

Batch = tuple[Sequence[str], NDArray[np.float16]]


def load(archive: Path) -> tuple[Any, int]:
    """The program of an archive, and the size of the square that it takes, in pixels."""
    with zipfile.ZipFile(archive) as packed:
        meta = json.loads(packed.read("meta.json"))
        program = packed.read(meta["programs"]["pt2"])
    return torch.export.load(io.BytesIO(program)).module(), meta["vision"]["size"]


def prepare(sample: dict[str, Any], size: int) -> tuple[str, torch.Tensor]:
    """A sample of a tar → its name and its pixels, uint8 [size, size, 3]."""
    return sample["__key__"], preprocess(sample["jpg"], size)


def loader(shards: Sequence[str], size: int) -> DataLoader[Any]:
    """Batches of names and pixels; a tar is one process's."""
    images = (
        webdataset.WebDataset(list(shards), shardshuffle=False, handler=webdataset.warn_and_continue)
        .select(lambda sample: "jpg" in sample)
        .map(partial(prepare, size=size), handler=webdataset.warn_and_continue)
    )
    workers = min(usable_cores(), len(shards))
    return DataLoader(images, batch_size=BATCH, num_workers=workers, prefetch_factor=AHEAD)


@torch.no_grad()
def embedded(model: Any, batches: DataLoader[Any]) -> Iterator[Batch]:
    """Names and vectors of each batch."""
    for names, pixels in batches:
        vectors = model(pixels)
        vectors /= vectors.norm(dim=-1, keepdim=True)
        yield names, vectors.to(torch.float16).numpy()


def write(batches: Sequence[Batch], out: Path) -> None:
    """All vectors in one array, and the names in one table."""
    for folder in ("img_emb", "metadata"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    np.save(out / "img_emb" / "img_emb_0.npy", np.concatenate([vectors for _, vectors in batches]))
    names = [name for group, _ in batches for name in group]
    parquet.write_table(pyarrow.table({"image_path": names}), out / "metadata" / "metadata_0.parquet")


def read(out: Path) -> dict[str, NDArray[np.float16]]:
    """What was written: vectors by the images' names."""
    names = parquet.read_table(out / "metadata" / "metadata_0.parquet")["image_path"].to_pylist()
    return dict(zip(names, np.load(out / "img_emb" / "img_emb_0.npy"), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.clip_inference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("archive", type=Path, help="of the vision tower, a .mar")
    parser.add_argument("out", type=Path)
    parser.add_argument("shards", nargs="+")
    given = parser.parse_args()
    torch.set_num_threads(usable_cores())
    model, size = load(given.archive)
    with torch.no_grad():
        model(torch.zeros((BATCH, size, size, 3), dtype=torch.uint8))
    began = time.perf_counter()
    batches = list(embedded(model, loader(given.shards, size)))
    write(batches, given.out)
    images = sum(len(names) for names, _ in batches)
    print(json.dumps({"images": images, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
