"""Vectors of a frozen tower, computed once and kept on the disk, as they never change.

The file is a plain .npy, named by what it is made from. Every process computes its share of the rows, and all
map the whole file afterwards, so the folder must be one that all of them share.
"""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import distributed

BATCH = 256


def digest_of(*parts: Iterable[str] | str) -> str:
    """16 hex digits of what the vectors are made from: names, fingerprints, all inputs in their order."""
    digest = hashlib.sha256()
    for part in parts:
        for line in [part] if isinstance(part, str) else part:
            digest.update(line.encode("utf-8", "surrogatepass") + b"\0")
        digest.update(b"\1")
    return digest.hexdigest()[:16]


@torch.inference_mode()
def vectors(
    path: Path, count: int, dim: int, embed: Callable[[range], Tensor], *, batch: int = BATCH
) -> NDArray[np.float32]:
    """float32 [count, dim], mapped: row i is what `embed` gives for i; read where the file is already there.

    `embed` takes up to `batch` neighbouring rows. Every process calls this.
    """
    if not all(distributed.gather_objects(path.exists())):
        partial = path.with_name(f"{path.name}.partial")
        if distributed.rank() == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=(count, dim)).flush()
        distributed.gather_objects(None)  # The file is there now.
        rows = np.lib.format.open_memmap(partial, mode="r+")
        for start in range(distributed.rank() * batch, count, distributed.world_size() * batch):
            part = range(start, min(start + batch, count))
            rows[part.start : part.stop] = embed(part).float().cpu().numpy()
        rows.flush()
        distributed.gather_objects(None)  # All rows are.
        if distributed.rank() == 0:
            partial.rename(path)
        distributed.gather_objects(None)
    found: NDArray[np.float32] = np.load(path, mmap_mode="r")
    return found
