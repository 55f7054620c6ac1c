"""A tower at work: the fastest runtime of this machine, only in shapes that it has met before.

HPU and compiled programs meet only the declared shapes (rows padded to a power of two), each warmed up before
the worker is ready. Padded rows repeat the last valid row and are dropped.
"""

from __future__ import annotations

import importlib
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers import mapped, runtimes
from handlers.batching import Array
from handlers.device import Placement

_log = logging.getLogger(__name__)

Examples = Callable[[int], Iterable[tuple[Array, ...]]]
# Of a trial: enough that one interruption does not decide, few enough that the start is not held up.
_TRIAL_PASSES = 5
_TRIAL_ROWS = 8
# Below this a pass costs about the same for any number of rows, so that halving a batch would double it.
_SMALLEST_HALF = 4


def row_buckets(max_batch: int) -> tuple[int, ...]:
    """Row counts of a static program: powers of two below `max_batch`, and `max_batch`."""
    powers = [1 << exponent for exponent in range(max_batch.bit_length())]
    return (*(rows for rows in powers if rows < max_batch), max_batch)


class Runner:
    """A tower program on its device: numpy arrays in, float32 vectors [N, dim] out, L2-normalised."""

    def __init__(
        self,
        programs: Mapping[str, Path],
        placements: Sequence[Placement],
        examples: Examples,
        *,
        max_batch: int,
        threads: int,
        lean: bool = False,
    ) -> None:
        """Load the program of the placement that is fastest here, and run every shape once.

        `programs` has a path for each form (pt2, onnx); `examples(rows)` gives an input of `rows` rows for
        each length bucket of the tower.

        Raises:
            OSError, RuntimeError: the program cannot be read, placed or run.
        """
        self.row_buckets = row_buckets(max_batch)
        self._probe = next(iter(examples(1)))
        self.placement = placements[0]
        if len(placements) > 1:
            trial = list(examples(min(_TRIAL_ROWS, max_batch)))[-1]
            self.placement = _fastest(programs, placements, trial, threads)
        self._run = runtimes.load(programs[self.placement.form], self.placement, threads=threads, lean=lean)
        self._warm_up(examples)
        mapped.let_go(programs[self.placement.form].parent)

    def group_rows(self, items: int) -> int:
        """How many of so many items should go through the tower together.

        Beside an accelerator the CPU decodes the second half of a batch while the first is computed. On a CPU
        both want the same cores, and fewer, larger passes are faster.
        """
        largest = self.row_buckets[-1]
        if self.placement.kind == "cpu":
            return largest
        half = max(_SMALLEST_HALF, math.ceil(items / 2))
        return next((rows for rows in self.row_buckets if rows >= half), largest)

    def padded_rows(self, rows: int) -> int:
        """How many rows are computed for `rows` items, at most the largest batch."""
        if not self.placement.static:
            return rows
        return next(size for size in self.row_buckets if size >= rows)

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

    def _warm_up(self, examples: Examples) -> None:
        """A static program meets every declared shape; another one the extremes.

        The largest shape reserves the memory that passes need, and shows that there is enough.
        """
        if not self.placement.static:
            for rows in sorted({1, self.row_buckets[-1]}):
                by_length = list(examples(rows))
                for arrays in (by_length[0], *by_length[1:][-1:]):
                    self(*arrays)
            return
        # Beyond its limit of recompilations, 8 unless told, torch silently stops compiling.
        config: Any = importlib.import_module("torch._dynamo.config")
        shapes = len(self.row_buckets) * len(list(examples(1)))
        config.recompile_limit = max(config.recompile_limit, shapes)
        for rows in self.row_buckets:
            for arrays in examples(rows):
                self(*arrays)


def _fastest(
    programs: Mapping[str, Path], placements: Sequence[Placement], trial: tuple[Array, ...], threads: int
) -> Placement:
    """The placement whose runtime has the shortest pass over `trial`; one that fails is left out.

    Each is dropped before the next is loaded, so that the start needs no more memory than serving does.

    Raises:
        RuntimeError: none can run the program.
    """
    seconds: dict[Placement, float] = {}
    for placement in placements:
        try:
            run = runtimes.load(programs[placement.form], placement, threads=threads)
            run(*trial)
            passes = []
            for _ in range(_TRIAL_PASSES):
                start = time.perf_counter()
                run(*trial)
                passes.append(time.perf_counter() - start)
            seconds[placement] = min(passes)
            _log.info("%s: %.1f rows a second", placement.runtime, len(trial[0]) / seconds[placement])
        except Exception as error:
            _log.warning("the runtime %s cannot run the tower: %s", placement.runtime, error)
    if not seconds:
        names = ", ".join(placement.runtime for placement in placements)
        raise RuntimeError(f"none of the runtimes {names} can run the tower; the lines above say why")
    return min(seconds, key=lambda placement: seconds[placement])
