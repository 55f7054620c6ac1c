"""Vectors as .npy with ids beside them, in the layout that clip-retrieval and autofaiss read.

img_emb/img_emb_0000000.npy              float16 or float32 [N, D], the rows that have a vector
metadata/metadata_0000000.parquet        id, image_path, caption of the same rows
"""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
import pyarrow.compute
from pyarrow import parquet

from batch.jobs import require
from batch.output import parts
from batch.storage.base import Storage


def export(storage: Storage, target: Storage) -> int:
    """Write the vectors of all outputs that are there; what was written before is written again, the same.

    Returns:
        How many vectors.

    Raises:
        JobError, OSError, ValueError: there is no job, or a file cannot be read or written.
    """
    job = require(storage).job
    prefix = "text" if job.modality == "text" else "img"
    rows = 0
    for name in parts(storage):
        number = PurePosixPath(name).stem.removeprefix("part-")
        with storage.reading(name) as part:
            table = parquet.read_table(part, columns=["id", "source", "vector", "caption"])
        table = table.filter(pyarrow.compute.is_valid(table["vector"])).combine_chunks()
        flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        vectors = np.asarray(flat, dtype=job.dtype).reshape(table.num_rows, job.identity.dim)
        named = table.drop_columns(["vector"]).rename_columns(["id", "image_path", "caption"])
        written = (f"{prefix}_emb/{prefix}_emb_{number}.npy", f"metadata/metadata_{number}.parquet")
        with target.writing(*written) as (array, metadata):
            with array.open("wb") as file:
                np.save(file, vectors, allow_pickle=False)
            parquet.write_table(named, metadata)
        rows += table.num_rows
    return rows
