"""Send bodies to a server over HTTP and gRPC at once, and judge every answer."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx

from babelclip import BabelclipError, Client
from babelclip.transports.torchserve import INFERENCE, bearer
from babelclip.transports.torchserve_pb2 import PredictionResponse, PredictionsRequest
from tests.e2e.support import Server
from tests.fuzz.answers import Judge, Verdict
from tests.fuzz.bodies import Body, make

THREADS = 16
# No answer within so many seconds is no answer.
PATIENCE = 60.0
# After so many bodies the workers are looked at: a dead one is then found near to what killed it.
STRIDE = 1_000


@dataclass
class Report:
    """What came of a run."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    bodies: int = 0
    seconds: float = 0.0
    worker_restarts: int = 0
    undocumented: int = 0
    internal: int = 0

    def result(self) -> dict[str, float]:
        """The numbers for the last line."""
        return {
            "bodies": self.bodies,
            "per_second": round(self.bodies / max(self.seconds, 1e-9), 1),
            "worker_restarts": self.worker_restarts,
            "undocumented": self.undocumented,
            "internal": self.internal,
        }


class Caller:
    """One thread's connections."""

    def __init__(self, server: Server, judge: Judge, channel: grpc.Channel) -> None:
        token = server.key("inference")
        self._judge = judge
        self._metadata = bearer(token)
        self._token = b"Bearer " + token.encode()
        self._http = httpx.Client(base_url=server.http, timeout=PATIENCE)
        codec: dict[str, Any] = {
            "request_serializer": PredictionsRequest.SerializeToString,
            "response_deserializer": PredictionResponse.FromString,
        }
        self._unary: grpc.UnaryUnaryMultiCallable[PredictionsRequest, PredictionResponse] = (
            channel.unary_unary(f"/{INFERENCE}/Predictions", **codec)
        )
        self._stream: grpc.UnaryStreamMultiCallable[PredictionsRequest, PredictionResponse] = (
            channel.unary_stream(f"/{INFERENCE}/StreamPredictions", **codec)
        )

    def close(self) -> None:
        """Close the HTTP connection."""
        self._http.close()

    def send(self, body: Body) -> Verdict:
        """Send one body; whatever comes of it is a verdict."""
        return self._send_http(body) if body.transport == "http" else self._send_grpc(body)

    def _send_http(self, body: Body) -> Verdict:
        headers = [(b"Authorization", self._token), *body.headers]
        request = self._http.build_request(body.method, body.path, content=body.content, headers=headers)
        started = time.monotonic()
        try:
            answer = self._http.send(request)
        except httpx.TransportError as error:
            late = f" after {time.monotonic() - started:.1f} s"
            return Verdict(
                f"no answer: {type(error).__name__}", f"no answer: {type(error).__name__}: {error}{late}"
            )
        kind = answer.headers.get("content-type", "").partition(";")[0]
        return self._judge.http(
            answer.status_code, kind, answer.content, no_body=body.method in ("HEAD", "OPTIONS")
        )

    def _send_grpc(self, body: Body) -> Verdict:
        request = PredictionsRequest(model_name=body.model, model_version=body.version, input=body.inputs)
        options: dict[str, Any] = {"metadata": self._metadata, "timeout": PATIENCE}
        try:
            if body.transport == "grpc":
                return self._judge.grpc(self._unary(request, **options).prediction)
            answers = [self._judge.grpc(part.prediction) for part in self._stream(request, **options)]
        except grpc.RpcError as error:
            return self._judge.grpc_failure(error.code().name, error.details() or "")
        if len(answers) != 1:
            return Verdict(f"{len(answers)} answers", f"a stream of {len(answers)} answers")
        return answers[0]


def fuzz(server: Server, *, bodies: int, seed: int, folder: Path, first: int = 0) -> Report:
    """Send the bodies `first` to `first + bodies` of `seed`; failing ones are written into `folder`."""
    report, lock, judge = Report(), threading.Lock(), Judge(server)
    own = threading.local()
    callers: list[Caller] = []

    def fail(what: str) -> None:
        report.failures.append(what)
        print(f"failure: {what}", flush=True)

    with grpc.insecure_channel(server.grpc.removeprefix("grpc://")) as channel:

        def one(index: int) -> None:
            if not hasattr(own, "caller"):
                own.caller = Caller(server, judge, channel)
                callers.append(own.caller)
            body = make(seed, index)
            verdict = own.caller.send(body)
            with lock:
                report.bodies += 1
                report.counts[body.kind, verdict.counted] += 1
                report.internal += verdict.internal
                if verdict.wrong:
                    report.undocumented += not verdict.internal
                    folder.mkdir(parents=True, exist_ok=True)
                    file = folder / f"{seed}-{index}.json"
                    file.write_text(body.saved(), encoding="utf-8")
                    fail(f"seed {seed} index {index} ({body.kind}): {verdict.wrong}; the body is in {file}")

        before = server.worker_pids()
        started = time.monotonic()
        with ThreadPoolExecutor(THREADS) as pool:
            for part in _strides(first, bodies):
                for _ in pool.map(one, part):
                    pass
                after = server.worker_pids()
                if after != before:
                    report.worker_restarts += 1
                    fail(f"seed {seed}: a worker died at the bodies {part.start} to {part.stop - 1}")
                    before = after
        report.seconds = time.monotonic() - started
    for caller in callers:
        caller.close()
    for url in (server.http, server.grpc):
        with Client(url, token_file=server.token_file, space=server.space) as client:
            try:
                client.health()
            except BabelclipError as error:
                fail(f"seed {seed}: afterwards {url} is not healthy: {error}")
    return report


def _strides(first: int, bodies: int) -> Iterator[range]:
    for start in range(first, first + bodies, STRIDE):
        yield range(start, min(start + STRIDE, first + bodies))
