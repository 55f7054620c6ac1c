"""A job: what is embedded and by what, all that a vector or a row of its output depends on."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

from babelclip.wire import Tower
from batch.model import Identity

Modality = Literal["image", "text"]
MODALITIES: tuple[Modality, ...] = ("image", "text")
DTYPES = ("float32", "float16")
FORMAT = 1
SHARD_SIZE = 10_000
"""Items of a run of a folder or table, unless asked otherwise: minutes of work for a core, some ten megabytes
of output."""
BATCH = 128
"""Items that are embedded together, unless asked otherwise: four passes of the vision tower, so that images
are decoded while it computes."""


class JobError(Exception):
    """A job cannot be begun or go on; the message is a sentence for people."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is embedded and by what; all that a vector or a row depends on.

    Attributes:
        inputs: as they were given.
        identity: of the model.
        dtype: of the vectors, float32 or float16.
        batch: items that are embedded together.
        threads: of a process's passes.
        column, caption_column: of tables; empty for the first of the usual names.
        shard_size: items of a run.
    """

    modality: Modality
    inputs: tuple[str, ...]
    identity: Identity
    dtype: str = "float32"
    batch: int = BATCH
    threads: int = 1
    column: str = ""
    caption_column: str = ""
    shard_size: int = SHARD_SIZE

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise ValueError(f"the modality is image or text, not {self.modality!r}")
        if self.dtype not in DTYPES:
            raise ValueError(f"vectors are float32 or float16, not {self.dtype!r}")
        for name in ("batch", "threads", "shard_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")

    @property
    def tower(self) -> Tower:
        """The one that embeds."""
        return "text" if self.modality == "text" else "vision"

    def line(self) -> str:
        """The first line of the manifest."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}) + "\n"

    @staticmethod
    def of_line(line: str) -> Job:
        """What `line` wrote.

        Raises:
            ValueError: it is none of this format.
        """
        fields: Any = json.loads(line)
        if not isinstance(fields, dict) or fields.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        try:
            identity = Identity(**fields.pop("identity"))
            return Job(identity=identity, **{**fields, "inputs": tuple(fields["inputs"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"it is no job: {error}") from error
