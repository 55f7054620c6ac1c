"""The batch contract of both towers: N requests in, N answers out, in order, each item with its own status.

    N requests → flat list of items → decoded or tokenised → forward passes of like shape → N answers

TorchServe fails a whole batch when a handler raises or returns another number of answers, so nothing raises
out of `handle`: a bad item costs itself, a bad request costs itself, an unexpected failure costs where it
happened, with an id that stands in the log.
"""

from __future__ import annotations

import logging
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from handlers import device, health
from handlers.answers import Answer, Embedded, Outcome
from handlers.batching import Array, Group, Notes, forward
from handlers.config import Settings, TowerMeta, read_meta, worker_count
from handlers.encoding import encode, encode_refusal
from handlers.envelope import Envelope, read_envelope
from handlers.errors import INTERNAL, ItemFault, RequestFault
from handlers.incidents import report
from handlers.items import Payload
from handlers.metrics import Metrics, Tally
from handlers.parsing import read_items

_log = logging.getLogger(__name__)


@dataclass
class _Request:
    """One request on its way: either `items` stands for it in the flat list, or `fault` refuses it."""

    envelope: Envelope
    items: slice
    fault: RequestFault | None = None
    canary: bool = False
    """A probe: its one item is the tower's own, and is not counted."""


class Handler(ABC):
    """What TorchServe calls. A tower says how items become arrays; everything else is here."""

    tower: ClassVar[str]
    meta: TowerMeta
    settings: Settings
    runner: device.Runner
    pool: ThreadPoolExecutor

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Read what the tower needs beyond its program from the unpacked MAR."""

    @abstractmethod
    def examples(self, rows: int) -> Iterable[tuple[Array, ...]]:
        """One input of `rows` rows for each shape bucket of the tower, for warm-up."""

    @abstractmethod
    def groups(self, payloads: Sequence[bytes | str], notes: Notes) -> Iterator[Group]:
        """Decode or tokenise the payloads and yield them in groups of like shape.

        Every position of `payloads` is afterwards either in exactly one group or in `notes.failed`.
        Unexpected failures may be raised.
        """

    def initialize(self, context: Any) -> None:
        """Load the tower and warm up every shape; called once by TorchServe, before the worker is READY.

        Raises:
            ValueError, RuntimeError, OSError: the archive, a setting or the device is not as it must be.
        """
        folder = Path(context.system_properties["model_dir"])
        model_config: Mapping[str, Any] = context.model_yaml_config or {}
        self.meta = read_meta(folder, tower=self.tower)
        self.settings = Settings.from_model_config(model_config)
        placement = device.choose(
            device=self.settings.device,
            dtype=self.settings.dtype,
            compile=self.settings.compile,
            gpu_id=context.system_properties.get("gpu_id"),
            program_dtype=self.meta.dtype,
        )
        threads = self.settings.threads or max(1, device.cpu_cores() // worker_count(model_config))
        self.pool = ThreadPoolExecutor(self.settings.decode_threads or threads, thread_name_prefix="decode")
        self.load(folder)
        self.runner = device.Runner(
            self.meta.program, placement, max_batch=self.settings.max_batch, threads=threads
        )
        self.runner.warm_up(self.examples, buckets=len(list(self.examples(1))))
        model = (context.manifest or {}).get("model") or {}
        version = str(model.get("modelVersion") or "unknown")
        self._metrics = Metrics(context.metrics, tower=self.tower, version=version)
        dtype = str(placement.dtype).removeprefix("torch.")
        self._metrics.info(space=self.meta.space, device=placement.device, dtype=dtype)
        self._lost = False
        _log.info("%s tower of space %s on %s in %s", self.tower, self.meta.space, placement.device, dtype)

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """The inputs of N requests → the bodies of N answers, in the same order.

        Raises:
            SystemExit: the device was lost in an earlier batch, and only a new process gets it back.
        """
        if self._lost:
            sys.exit("the device is lost; TorchServe starts a new worker")
        tally = Tally()
        requests, payloads = self._parse(data, context, tally)
        outcomes = self._embed(payloads, tally)
        start = time.perf_counter()
        for request in requests:
            if request.canary:
                request.fault = health.check(self.meta.canary, outcomes[request.items][0])
        bodies = [self._answer(index, request, outcomes, context) for index, request in enumerate(requests)]
        tally.seconds["encode"] = time.perf_counter() - start
        for request in requests:
            transport = "grpc" if request.envelope.grpc else "http"
            tally.requests[transport, request.fault.code if request.fault else "ok"] += 1
            if not request.canary:
                found = outcomes[request.items]
                tally.items.update(o.code if isinstance(o, ItemFault) else "ok" for o in found)
        self._metrics.record(tally)
        return bodies

    def _parse(
        self, data: Sequence[Mapping[str, Any]], context: Any, tally: Tally
    ) -> tuple[list[_Request], list[Payload]]:
        start = time.perf_counter()
        requests: list[_Request] = []
        payloads: list[Payload] = []
        for index, one in enumerate(data):
            envelope = read_envelope(context.get_all_request_header(index), one)
            request = _Request(envelope, items=slice(len(payloads), len(payloads)))
            try:
                items = read_items(envelope, one, meta=self.meta, settings=self.settings)
                request.canary = isinstance(items, health.Canary)
                payloads += [items.item] if isinstance(items, health.Canary) else items
                request.items = slice(request.items.start, len(payloads))
            except RequestFault as fault:
                request.fault = fault
            except Exception as error:
                request.fault = RequestFault(INTERNAL, report("parsing", error))
            requests.append(request)
        tally.seconds["decode"] = time.perf_counter() - start
        return requests, payloads

    def _embed(self, payloads: list[Payload], tally: Tally) -> list[Outcome]:
        """Payloads of all requests → the outcome of each, in the same order."""
        done: dict[int, Outcome] = {
            position: payload for position, payload in enumerate(payloads) if isinstance(payload, ItemFault)
        }
        waiting = [position for position in range(len(payloads)) if position not in done]
        usable = [payload for payload in payloads if not isinstance(payload, ItemFault)]
        notes = Notes()
        trouble: Exception | None = None
        forward_seconds = 0.0
        start = time.perf_counter()
        try:
            for group in self.groups(usable, notes):
                began = time.perf_counter()
                rows = forward(group, self.runner, dim=self.meta.dim)
                forward_seconds += time.perf_counter() - began
                for position, row in zip(group.positions, rows, strict=True):
                    tokens, cut = notes.tokens.get(position, 0), position in notes.cut
                    embedded = row if isinstance(row, ItemFault) else Embedded(row, tokens, cut)
                    done[waiting[position]] = embedded
                self._count_slots(group, tally)
        except Exception as error:
            trouble = error
        done.update({waiting[position]: fault for position, fault in notes.failed.items()})
        missing = [position for position in waiting if position not in done]
        if trouble or missing:
            cause = trouble or RuntimeError("items were left without an outcome")
            done.update(dict.fromkeys(missing, ItemFault(INTERNAL, report("batching", cause))))
        tally.seconds["decode"] += time.perf_counter() - start - forward_seconds
        tally.seconds["forward"] = forward_seconds
        self._check_device(done.values())
        return [done[position] for position in range(len(payloads))]

    def _count_slots(self, group: Group, tally: Tally) -> None:
        rows = len(group.positions)
        per_row = group.slots // rows
        tally.used_slots += group.used
        tally.all_slots += self.runner.padded_rows(rows) * per_row

    def _check_device(self, outcomes: Iterable[Outcome]) -> None:
        if any(isinstance(o, ItemFault) and o.code == INTERNAL for o in outcomes):
            self._lost = self.runner.placement.kind != "cpu" and self.runner.lost()

    def _answer(self, index: int, request: _Request, outcomes: list[Outcome], context: Any) -> bytes:
        """Encode one answer and tell TorchServe its status and headers."""
        try:
            if request.fault is None:
                answer = encode(request.envelope, outcomes[request.items], self.meta)
            else:
                answer = encode_refusal(request.envelope, request.fault, self.meta)
        except Exception as error:
            request.fault = RequestFault(INTERNAL, report("encoding", error))
            answer = encode_refusal(request.envelope, request.fault, self.meta)
        self._set_headers(index, request.envelope, answer, context)
        return answer.body

    @staticmethod
    def _set_headers(index: int, envelope: Envelope, answer: Answer, context: Any) -> None:
        context.set_response_content_type(index, answer.content_type)
        context.set_response_status(answer.status, answer.phrase, index)
        if envelope.grpc:
            # Without it, a client that calls StreamPredictions makes the frontend throw and kills the worker.
            # Over HTTP the same header would swallow the answer.
            context.set_response_header(index, "ts_stream_next", "false")
