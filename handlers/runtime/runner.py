"""A tower's program on its device, run in the shapes that suit its runtime.

HPU and compiled programs meet only the declared shapes, each warmed up before the worker is ready. Where a
runtime keeps memory for each shape, text passes have few; elsewhere a pass has as many rows as there are
items. Padded rows repeat the last valid row and are dropped.
"""

from __future__ import annotations

import importlib
import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.batching import Array
from handlers.runtime import mapped, runtimes
from handlers.runtime.device import Placement
from handlers.runtime.shapes import row_buckets

Examples = Callable[[int], Iterable[tuple[Array, ...]]]
# For warming up shapes that need no compilation: all of a small tower's, the small ones of a large one.
_WARM_UP_SECONDS = 2.0
# Below this a pass costs about the same for any number of rows, so that halving a batch would double it.
_SMALLEST_HALF = 4


class Runner:
    """A tower program on its device: numpy arrays in, float32 vectors [N, dim] out, L2-normalised."""

    def __init__(
        self,
        program: Path,
        placement: Placement,
        examples: Examples,
        *,
        row_sizes: Sequence[int],
        threads: int,
        low_memory: bool = False,
    ) -> None:
        """Load the program, and run it in the shapes that it will meet.

        `program` is of the form that the placement names; `row_sizes` are the rows that a pass may have,
        ascending (handlers.runtime.shapes); `examples(rows)` gives an input of at most `rows` rows for each
        length of the tower, the shortest first.

        Raises:
            OSError, RuntimeError: the program cannot be read, placed or run.
        """
        self.placement = placement
        self.row_sizes = row_sizes
        self.row_buckets = row_buckets(row_sizes[-1])
        shapes = list(examples(1))
        self._probe = shapes[0]
        self._run = runtimes.load(program, placement, threads=threads, low_memory=low_memory)
        self._warm_up(examples, shapes=len(row_sizes) * len(shapes))
        mapped.release_pages(program.parent)

    def group_rows(self, items: int) -> int:
        """How many of so many items should go through the tower together.

        With an accelerator the CPU decodes the second half of a batch while the first is computed. On a CPU
        both need the same cores, and fewer, larger passes are faster.
        """
        largest = self.row_buckets[-1]
        if self.placement.kind == "cpu":
            return largest
        half = max(_SMALLEST_HALF, math.ceil(items / 2))
        return next((rows for rows in self.row_buckets if rows >= half), largest)

    def padded_rows(self, rows: int) -> int:
        """How many rows are computed for `rows` items, at most the largest batch."""
        return self.row_sizes[bisect_left(self.row_sizes, rows)]

    def __call__(self, *arrays: Array) -> NDArray[np.float32]:
        """The tower's inputs, each [N, ...] → float32 [N, dim]. Rows never influence each other.

        Raises:
            RuntimeError: the runtime failed, for want of memory for instance.
        """
        rows = len(arrays[0])
        padding = self.padded_rows(rows) - rows
        if padding:
            arrays = tuple(
                np.concatenate([array, np.repeat(array[-1:], padding, axis=0)]) for array in arrays
            )
        vectors = self._run(*arrays)[:rows]
        # Eight bits of mantissa leave a norm up to 0.4 % away from 1; a vector of zeros stays what it is.
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: NDArray[np.float32] = vectors / np.maximum(norms, np.float32(1e-12))
        return unit

    def lost(self) -> bool:
        """Whether the device fails on input that it could embed at start: only a new process helps then.

        A CUDA context is unusable after an illegal access or a failed assertion on the device.
        """
        try:
            self(*self._probe)
        except Exception:
            return True
        return False

    def _warm_up(self, examples: Examples, *, shapes: int) -> None:
        """Run a static program in every declared shape, another one in the extremes and while there is time.

        The largest shape reserves the memory that passes need, and shows that there is enough.
        """
        if self.placement.static:
            # Beyond its limit of recompilations, 8 unless told, torch silently stops compiling.
            config: Any = importlib.import_module("torch._dynamo.config")
            config.recompile_limit = max(config.recompile_limit, shapes)
            for rows in self.row_sizes:
                for arrays in examples(rows):
                    self(*arrays)
            return
        for rows in sorted({1, self.row_buckets[-1]}):
            by_length = list(examples(rows))
            for arrays in (by_length[0], *by_length[1:][-1:]):
                self(*arrays)
        if self.placement.keeps_shapes:
            # What is met now does not make a worker grow later.
            end = time.monotonic() + _WARM_UP_SECONDS
            for rows in self.row_sizes:
                for arrays in examples(rows):
                    if time.monotonic() > end:
                        return
                    self(*arrays)
