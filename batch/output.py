"""What a shard becomes: one Parquet file in the folder `vectors`, there as a whole or not at all.

    id        of the source, 32 hexadecimal digits, as in an index
    source    path, address, `archive.tar#member`, `table.parquet#row`
    vector    fixed-size list of float32 or float16, null where there is none
    error     why there is none, a code; null where there is one
    message   the same for people
    caption   the text that came with an image, or the text itself
    …         the input's own columns

The file's metadata says whose vectors they are and of what: `babelclip`, JSON. It holds nothing of time or
place, so that the same shard gives the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from babelclip.embeddings import Embeddings
from babelclip.index.base import row_id
from batch.job import Job
from batch.shards import Counts, Item, Shard
from batch.storage.base import Storage

VECTORS = "vectors"
METADATA = b"babelclip"
OWN = ("id", "source", "vector", "error", "message", "caption")
"""The columns that every output has. Those of the input that are called so get `input_` before their name."""
_NAME = re.compile(r"part-(\d{7,})\.parquet")
_PLAIN = ("id", "source", "error", "message", "caption")


def part_name(number: int) -> str:
    """What the output of a shard is called, or will be."""
    return f"{VECTORS}/part-{number:07d}.parquet"


def finished(storage: Storage) -> set[int]:
    """The numbers of the shards whose output is there."""
    return {int(match[1]) for match in map(_NAME.fullmatch, storage.names(VECTORS)) if match}


def parts(storage: Storage) -> Iterator[str]:
    """The names of the outputs that are there, by number."""
    return (part_name(number) for number in sorted(finished(storage)))


def read_metadata(storage: Storage, name: str) -> dict[str, Any]:
    """What an output says of itself; its rows are not read.

    Raises:
        ValueError: it is no output of a shard.
        OSError: it cannot be read.
    """
    try:
        with storage.reading(name) as file:
            found = parquet.read_metadata(file).metadata or {}
        metadata: dict[str, Any] = json.loads(found[METADATA])
    except (pyarrow.ArrowException, KeyError, ValueError) as error:
        raise ValueError(f"{name} of {storage.address} is no output of a shard: {error}") from error
    return metadata


class PartWriter:
    """Writes the rows of a shard as they come, a row group for each batch.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """

    def __init__(self, path: Path, job: Job, columns: pyarrow.Schema) -> None:
        self._job = job
        self._names = {
            field.name: f"input_{field.name}" if field.name in OWN else field.name for field in columns
        }
        value = pyarrow.float16() if job.dtype == "float16" else pyarrow.float32()
        texts = {name: pyarrow.string() for name in _PLAIN}
        self._schema = pyarrow.schema(
            [
                *((name, texts[name]) for name in ("id", "source")),
                ("vector", pyarrow.list_(value, job.identity.dim)),
                *((name, texts[name]) for name in ("error", "message", "caption")),
                *(field.with_name(self._names[field.name]).remove_metadata() for field in columns),
            ]
        )
        plain = [field.name for field in self._schema if not pyarrow.types.is_nested(field.type)]
        self._writer = parquet.ParquetWriter(
            path,
            self._schema,
            compression=dict.fromkeys(plain, "zstd"),  # Vectors would not become smaller.
            use_dictionary=[name for name in plain if name not in ("id", "source")],
            write_statistics=plain,
        )
        self.counts = Counts()

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, *raised: object) -> None:
        self._writer.close()

    def write(self, items: Sequence[Item], sent: Sequence[int], found: Embeddings) -> Counts:
        """Rows of a batch: `found` is of the items at the places `sent`; the others have a code of their own.

        Returns:
            What became of them.
        """
        dim = self._job.identity.dim
        vectors = np.zeros((len(items), dim), dtype=self._job.dtype)
        errors: list[str | None] = [item.code or None for item in items]
        messages: list[str | None] = [item.message or None for item in items]
        if sent:
            vectors[list(sent)] = found.vectors
        for error in found.errors:
            place = sent[error.index]
            vectors[place] = 0
            errors[place], messages[place] = error.code, error.message
        missing = np.array([code is not None for code in errors])
        arrays = {
            "id": pyarrow.array([row_id(item.source) for item in items], pyarrow.string()),
            "source": pyarrow.array([item.source for item in items], pyarrow.string()),
            "vector": pyarrow.FixedSizeListArray.from_arrays(
                pyarrow.array(vectors.reshape(-1)), dim, mask=pyarrow.array(missing)
            ),
            "error": pyarrow.array(errors, pyarrow.string()),
            "message": pyarrow.array(messages, pyarrow.string()),
            "caption": pyarrow.array([item.caption or None for item in items], pyarrow.string()),
        }
        for name, ours in self._names.items():
            values = [item.columns.get(name) for item in items]
            arrays[ours] = pyarrow.array(values, self._schema.field(ours).type)
        self._writer.write_table(pyarrow.table(arrays, schema=self._schema), row_group_size=len(items))
        counts = Counts(len(items))
        for code in filter(None, errors):
            counts.failed[code] = counts.failed.get(code, 0) + 1
        self.counts.add(counts)
        return counts

    def finish(self, shard: Shard, checksum: str, logit_scale: float) -> None:
        """The metadata; nothing follows.

        Args:
            checksum: SHA-256 of what was embedded.
        """
        metadata = {
            "shard": shard.number,
            "source": shard.source,
            "modality": self._job.modality,
            **self._job.identity.as_json(),
            "logit_scale": logit_scale,
            "checksum": checksum,
            "items": self.counts.items,
            "failed": dict(sorted(self.counts.failed.items())),
        }
        self._writer.add_key_value_metadata({METADATA: json.dumps(metadata)})
