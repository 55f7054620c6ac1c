"""The batch contract of both towers: N requests in, N responses out, in order, each item with its own status.

    N requests → flat list of items → decoded or tokenised → forward passes of like shape → N responses

TorchServe fails a whole batch when a handler raises or returns another number of responses, so nothing raises
out of `handle`: a bad item costs only itself, a bad request only itself, and an unexpected failure only the
step in which it happened; its id stands in the response and in the log.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from handlers.batching import Array, Group, PreprocessResult, Row, forward, part_of, smallest_first
from handlers.config import Settings, TowerMeta, read_meta, response_timeout, worker_count
from handlers.deadline import Deadline, DeadlineExceeded
from handlers.errors import INTERNAL, ItemError
from handlers.incidents import log_incident
from handlers.metrics import BatchStats, Metrics
from handlers.outcomes import Embedding, Outcome
from handlers.protocol.items import Payload, RawItem
from handlers.protocol.requests import Request, read_request
from handlers.protocol.responses import build_responses
from handlers.runtime import choice, device, shapes
from handlers.runtime.device import Placement
from handlers.runtime.machine import usable_cores
from handlers.runtime.runner import Runner
from handlers.self_test import check_self_test

_log = logging.getLogger(__name__)

_TRIAL_ROWS = 8  # of the pass by which runtimes are compared


class Handler(ABC):
    """What TorchServe calls. A tower says how items become arrays; everything else is here."""

    tower: ClassVar[str]
    varied_lengths: ClassVar[bool]
    """Whether its items differ in length."""
    computes_repeated_once: ClassVar[bool] = False
    """Whether items that come again in a batch get what the first of them gets."""
    meta: TowerMeta
    settings: Settings
    placement: Placement
    row_sizes: Sequence[int]
    """The row counts that a pass may have, ascending."""
    runner: Runner
    deadline: Deadline
    clock: Callable[[], float] = time.perf_counter
    _ended: float | None = None
    """When the latest batch ended, by `clock`."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Read what the tower needs beyond its program from the unpacked MAR."""

    @abstractmethod
    def examples(self, rows: int) -> Iterable[tuple[Array, ...]]:
        """One input of `rows` rows for each shape bucket of the tower, for warm-up."""

    @abstractmethod
    def groups(
        self, payloads: Sequence[RawItem], result: PreprocessResult, deadline: Deadline
    ) -> Generator[Group, None, None]:
        """Decode or tokenise the payloads, roughly in their order, and yield them in groups of like shape.

        Afterwards every position of `payloads` is either in exactly one group or in `result.failed`. Closed
        early, it leaves no work behind. Unexpected failures may be raised.

        Raises:
            DeadlineExceeded: the preparation took all of the time.
        """

    def initialize(self, context: Any) -> None:
        """Load the tower and warm up every shape; called once by TorchServe, before the worker is READY.

        Raises:
            ValueError, RuntimeError, OSError: the archive, a setting or the device is not as it must be.
        """
        folder = Path(context.system_properties["model_dir"])
        model_config: Mapping[str, Any] = context.model_yaml_config or {}
        model = (context.manifest or {}).get("model") or {}
        version = str(model.get("modelVersion") or "")
        # First of all, so that a worker that ends before it is ready has been counted.
        self._metrics = Metrics(context.metrics, tower=self.tower, version=version or "unknown")
        self._metrics.started()
        self.meta = replace(read_meta(folder, tower=self.tower), version=version)
        self.settings = Settings.from_model_config(model_config)
        self.deadline = Deadline(response_timeout(model_config), self.clock)
        placements = device.choose(
            device=self.settings.device,
            dtype=self.settings.dtype,
            compile=self.settings.compile,
            runtime=self.settings.runtime,
            gpu_id=context.system_properties.get("gpu_id"),
            program_dtype=self.meta.dtype,
            forms=self.meta.programs,
        )
        self.threads = self.settings.threads or max(1, usable_cores() // worker_count(model_config))
        self.load(folder)
        self._place(placements[0])
        trial = list(self.examples(min(_TRIAL_ROWS, self.settings.max_batch)))[-1]
        placement = choice.settle(placements, self.meta.programs, trial, folder=folder, threads=self.threads)
        self._place(placement)
        self.runner = Runner(
            self.meta.programs[placement.form],
            placement,
            self.examples,
            row_sizes=self.row_sizes,
            threads=self.threads,
            low_memory=self.settings.low_memory,
        )
        self.meta = replace(self.meta, numerics=f"{placement.kind} {placement.dtype} {placement.runtime}")
        self._shapes: set[tuple[int, int]] = set()
        """Rows and slots of the passes so far."""
        self._metrics.info(
            space=self.meta.space,
            device=placement.device,
            dtype=placement.dtype,
            runtime=placement.runtime,
        )
        self._lost = False
        _log.info(
            "%s tower of space %s on %s in %s by %s",
            *(self.tower, self.meta.space, placement.device, placement.dtype, placement.runtime),
        )

    def _place(self, placement: Placement) -> None:
        self.placement = placement
        self.row_sizes = shapes.row_sizes(
            placement, self.settings.max_batch, varied_lengths=self.varied_lengths
        )

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """The inputs of N requests → the bodies of N responses, in the same order.

        Raises:
            SystemExit: the device was lost in an earlier batch, and only a new process gets it back.
        """
        if self._lost:
            sys.exit("the device is lost; TorchServe starts a new worker")
        began = self.clock()
        self.deadline.restart()
        stats = BatchStats()
        shapes_before = len(self._shapes)
        requests, payloads = self._read(data, context)
        parsed = self.clock()
        outcomes = self._embed(requests, payloads, stats)
        embedded = self.clock()
        stats.seconds |= {
            "parse": parsed - began,
            "decode": embedded - parsed - stats.seconds["forward"],
        }
        bodies = self._respond(requests, outcomes, context, stats.seconds)
        for request in requests:
            stats.add_request(request, outcomes[request.items])
        if len(self._shapes) > shapes_before:
            stats.shapes = len(self._shapes)
        ended = self.clock()
        stats.seconds |= {
            "idle": began - (began if self._ended is None else self._ended),
            "encode": ended - embedded,
        }
        self._ended = ended
        self._metrics.record(stats)
        return bodies

    def _read(self, data: Sequence[Mapping[str, Any]], context: Any) -> tuple[list[Request], list[Payload]]:
        """The requests, and the items of all of them as one flat list."""
        requests: list[Request] = []
        payloads: list[Payload] = []
        for index, inputs in enumerate(data):
            headers = context.get_all_request_header(index)
            requests.append(read_request(headers, inputs, payloads, meta=self.meta, settings=self.settings))
        return requests, payloads

    def _embed(
        self, requests: Sequence[Request], payloads: list[Payload], stats: BatchStats
    ) -> list[Outcome]:
        """Payloads of all requests → the outcome of each, at the same position.

        They are embedded as far as the time goes, those of requests with few items first; the rest is
        `overloaded`. TorchServe sends the responses of a batch together. So the caller who gives up first
        ends it for all who said how long they wait, and who send the rest again; what others wait for is
        embedded as far as the worker's own time goes.
        """
        done: dict[int, Outcome] = {}
        stats.seconds["forward"] = 0.0
        waits = [request.timeout for request in requests if request.timeout is not None]
        self.deadline.callers_wait(min(waits, default=None))
        in_time = self._pass_over(payloads, smallest_first(r.items for r in requests), done, stats)
        if waits and not in_time:
            hurried = [r.items for r in requests if r.timeout is not None]
            late = [p for items in hurried for p in range(items.start, items.stop) if p not in done]
            done.update(dict.fromkeys(late, self.deadline.error()))
            self.deadline.callers_wait(None)
            order = smallest_first(r.items for r in requests if r.timeout is None)
            rest = [position for position in order if position not in done]
            in_time = self._pass_over(payloads, rest, done, stats)
        if not in_time:
            error = self.deadline.error()
            done.update({position: error for position in range(len(payloads)) if position not in done})
        self._check_device(done.values())
        return [done[position] for position in range(len(payloads))]

    def _respond(
        self,
        requests: Sequence[Request],
        outcomes: list[Outcome],
        context: Any,
        seconds: Mapping[str, float],
    ) -> list[bytes]:
        """The bodies of the responses; a probe is refused where its self-test has failed."""
        for request in requests:
            if request.self_test:
                request.error = check_self_test(self.meta.self_test, outcomes[request.items][0])
        max_bytes = self.settings.max_response_bytes
        return build_responses(requests, outcomes, self.meta, context, max_bytes=max_bytes, seconds=seconds)

    def _pass_over(
        self, payloads: list[Payload], order: Iterable[int], done: dict[int, Outcome], stats: BatchStats
    ) -> bool:
        """Embed the payloads at the positions of `order` and enter their outcomes into `done`.

        Returns:
            Whether all have one; False when the time was over before.
        """
        waiting: list[int] = []
        usable: list[RawItem] = []
        firsts: dict[RawItem, int] = {}
        repeated: dict[int, int] = {}
        for position in order:
            payload = payloads[position]
            if isinstance(payload, ItemError):
                done[position] = payload
                continue
            if self.computes_repeated_once:
                first = firsts.setdefault(payload, position)
                if first != position:
                    repeated[position] = first
                    continue
            waiting.append(position)
            usable.append(payload)
        result = PreprocessResult()
        lost: str | None = None
        in_time = True
        try:
            with contextlib.closing(self.groups(usable, result, self.deadline)) as groups:
                for group in groups:
                    start = 0
                    while start < len(group.positions):
                        part = self._part(group, start)
                        start += len(part.positions)
                        self._forward(part, waiting, result, done, stats)
        except DeadlineExceeded:
            in_time = False
        except Exception as error:
            lost = log_incident("batching", error)
        done.update({waiting[position]: error for position, error in result.failed.items()})
        stats.decode_cpu_seconds += result.decode_cpu_seconds
        done.update({position: done[first] for position, first in repeated.items() if first in done})
        missing = [position for position in (*waiting, *repeated) if position not in done]
        if not in_time:
            return not missing
        if missing:
            lost = lost or log_incident("batching", RuntimeError("items were left without an outcome"))
            done.update(dict.fromkeys(missing, ItemError(INTERNAL, lost)))
        return True

    def _forward(
        self,
        group: Group,
        waiting: list[int],
        result: PreprocessResult,
        done: dict[int, Outcome],
        stats: BatchStats,
    ) -> None:
        slots = self._slots(group)
        self.deadline.check(slots)
        began = self.clock()
        rows = forward(group, self.runner, dim=self.meta.dim)
        seconds = self.clock() - began
        self._shapes.add((self.runner.padded_rows(len(group.positions)), slots))
        self.deadline.record(slots, seconds)
        stats.seconds["forward"] += seconds
        for position, row in zip(group.positions, rows, strict=True):
            done[waiting[position]] = _outcome(row, result, position)
        stats.add_pass(group, slots=slots, max_batch=self.settings.max_batch)

    def _part(self, group: Group, start: int) -> Group:
        """The rows of a group from `start` on that should go through the tower next: nearly always all."""
        per_row = group.slots // len(group.positions)
        rows = self.deadline.largest(
            len(group.positions) - start, lambda rows: self.runner.padded_rows(rows) * per_row
        )
        return part_of(group, start, start + rows)

    def _slots(self, group: Group) -> int:
        """Tokens or images that are computed for a group, padding included."""
        rows = len(group.positions)
        return self.runner.padded_rows(rows) * (group.slots // rows)

    def _check_device(self, outcomes: Iterable[Outcome]) -> None:
        if any(isinstance(o, ItemError) and o.code == INTERNAL for o in outcomes):
            self._lost = self.runner.placement.kind != "cpu" and self.runner.lost()


def _outcome(row: Row, result: PreprocessResult, position: int) -> Outcome:
    if isinstance(row, ItemError):
        return row
    return Embedding(
        row,
        tokens=result.tokens.get(position, 0),
        truncated=position in result.cut,
        unknown=position in result.unknown,
    )
