"""Send a gateway thousands of broken requests over HTTP and gRPC, and see that it keeps its promises.

    python -m tests.gateway.fuzz --bodies 50000 [--seed N] [--first INDEX]

starts a gateway in a process of its own, before an engine in memory. Addresses, methods and fields are those
that its own OpenAPI document and the services' descriptors name, so that a new call is fuzzed without a line
here. It fails, with exit status 1, when an answer is a failure of ours (500, INTERNAL, UNKNOWN, or none),
tells of the gateway's files or its key, is no JSON with an error's code, or when the process has ended or
grown by more than 500 MB. A request is named by seed and index: `--first INDEX --bodies 1` sends it again.

The last line is `result: {JSON}` with bodies, per_second, failures and grown_mb.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import gzip
import json
import random
import sys
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx

from babelclip.transports.torchserve import INFERENCE
from babelclip.transports.torchserve_pb2 import PredictionsRequest
from gateway.rpc import collections_pb2
from gateway.rpc import embedder_pb2 as pb
from tests.fuzz import contents
from tests.fuzz.images import images, junk, mutated
from tests.gateway.alone import Alone, alone
from tests.gateway.fuzz_values import KEPT, instance, many, message, text
from tests.places import REPOSITORY

PATIENCE = 60.0
THREADS = 8
MOST_MEGABYTES = 500.0
METHODS = ("POST",) * 6 + ("GET", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "FOO")
TYPES = ("application/json",) * 8 + ("", "text/plain", "application/x+json", "image/png", "\xff", "a" * 5000)
OURS = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "DEADLINE_EXCEEDED", "UNAVAILABLE"}
_SERVICES = (
    pb.DESCRIPTOR.services_by_name["Embedder"],
    collections_pb2.DESCRIPTOR.services_by_name["Collections"],
)
# Each by its path, the kind of its requests, and whether it is a stream of them.
_CALLS: list[tuple[str, Any, bool]] = [
    (f"/{service.full_name}/{method.name}", method.input_type, method.client_streaming)
    for service in _SERVICES
    for method in service.methods
]
_CALLS.append((f"/{INFERENCE}/Predictions", PredictionsRequest.DESCRIPTOR, False))
_IDS = ("a", "a", "b", "", "%00", "..", "%ff%fe", "a%2fb", "x" * 300)
_RANGES = ("0-", "-1", "5-4", "0-,0-", "-", "9" * 5000 + "-", ",".join(f"{n}-{n}" for n in range(300)))


@dataclass
class Report:
    """What came of a run: how often each answer came, and what was wrong."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    bodies: int = 0
    seconds: float = 0.0
    grown: float = 0.0


class Fuzzer:
    """Makes, sends and judges the requests of one seed."""

    def __init__(self, target: Alone, seed: int) -> None:
        self._target = target
        self._seed = seed
        self._secrets = [target.key, str(REPOSITORY), "Traceback", "site-packages", '.py"', ":7070"]
        self._schemas: dict[str, dict[str, Any]] = {}
        self._queries: dict[str, list[str]] = {}
        for path, methods in httpx.get(f"{target.http}/openapi.json").json()["paths"].items():
            body = methods.get("post", {}).get("requestBody", {}).get("content", {})
            self._schemas[path] = body.get("application/json", {}).get("schema", {})
            asked = methods.get("get", {}).get("parameters", ())
            self._queries[path] = [one["name"] for one in asked if one["in"] == "query"]
        self._own = threading.local()
        self._clients: list[httpx.Client] = []
        _fill_collection(target)
        self._channel = grpc.insecure_channel(target.grpc.removeprefix("grpc://"))

    def close(self) -> None:
        """Gives all connections back."""
        self._channel.close()
        for client in self._clients:
            client.close()

    def send(self, index: int) -> tuple[str, str, str]:
        """One request → its kind, its answer, and what is wrong with that ("" for nothing)."""
        rng = random.Random(f"{self._seed}:{index}")
        return self._grpc(rng) if rng.random() < 0.3 else self._http(rng)

    def _http(self, rng: random.Random) -> tuple[str, str, str]:
        calls = [path for path, schema in self._schemas.items() if schema]
        path = rng.choice(calls if rng.random() < 0.8 else list(self._schemas))
        schema = self._schemas[path]
        method = "POST" if schema and rng.random() < 0.9 else rng.choice(METHODS)
        if rng.random() < 0.1:
            content = contents.json_text(rng, rng.choice(("input", "inputs", "texts", "documents")))
        else:
            value = instance(rng, schema) if rng.random() < 0.9 else contents.value(rng)
            content = json.dumps(value).encode()
        kind = rng.choice(TYPES).encode("latin-1")
        if path.endswith("/items") and rng.random() < 0.6:
            content, kind = many(rng, schema)
        if rng.random() < 0.2:
            content = mutated(rng, content)
        headers: list[tuple[bytes, bytes]] = []
        if rng.random() < 0.98:
            headers.append((b"authorization", b"Bearer " + self._target.key.encode()))
        if kind:
            headers.append((b"content-type", kind))
        if rng.random() < 0.1:
            content = gzip.compress(content) if rng.random() < 0.7 else content
            headers.append((b"content-encoding", rng.choice((b"gzip", b"deflate", b"br"))))
        if rng.random() < 0.05:
            headers.append((b"x-junk", bytes(byte for byte in junk(rng) if byte > 32 and byte != 127)))
        named = f"{method} {path[:40]}" if schema else "other addresses"
        path = self._filled(rng, method, path) + self._asked(rng, path)
        if rng.random() < 0.1:
            headers.append((b"range", b"bytes=" + rng.choice(_RANGES).encode()))
        if rng.random() < 0.05:
            path += rng.choice(("/", "?a=b", "%2e%2e/", "//", ";x", "?" + "a" * 3000))
        if not hasattr(self._own, "client"):
            self._own.client = httpx.Client(base_url=self._target.http, timeout=PATIENCE)
            self._clients.append(self._own.client)
        named = f"{method} {path.partition('?')[0][:40]}" if schema else "other addresses"
        try:
            answer = self._own.client.request(method, path, content=content, headers=headers)
        except httpx.HTTPError as error:
            return named, "none", f"no answer: {error!r}"
        return named, str(answer.status_code), self._wrong(answer)

    def _filled(self, rng: random.Random, method: str, path: str) -> str:
        """An address for a path of the description, with a query where that has one."""
        names = "none" if method == "DELETE" and path.endswith("{collection}") else KEPT
        path = path.replace("{collection}", rng.choice((names,) * 6 + ("..", "%00", "none")))
        path = path.replace("{model}", rng.choice(("clip", "clip@1.0", "clip@", "%00", "..", "%ff" * 9)))
        for place in ("{item}", "{job}"):
            path = path.replace(place, rng.choice(_IDS))
        return path

    def _asked(self, rng: random.Random, path: str) -> str:
        """A query for an address that takes one."""
        chosen = [name for name in self._queries[path] if rng.random() < 0.5]
        if not chosen:
            return ""
        values = (
            "0",
            "1",
            "-1",
            "9" * 5000,
            "true",
            '{"album": "a"}',
            '{"$not": {"width": 1}}',
            "[" * 500,
            "\0",
        )
        return "?" + urllib.parse.urlencode(
            [(name, rng.choice((*values, text(rng)[:1000]))) for name in chosen]
        )

    def _wrong(self, answer: httpx.Response) -> str:
        if leak := self._leak(answer.content):
            return leak
        if answer.status_code >= 500 and '"overloaded"' not in answer.text:  # Jobs may be under way already.
            return f"{answer.status_code}: {answer.text[:200]}"
        if answer.status_code >= 400 and answer.request.method != "HEAD":
            try:
                body = answer.json()
            except ValueError:
                return f"{answer.status_code} is no JSON: {answer.content[:200]!r}"
            if not isinstance(body, dict) or not ({"error", "message", "detail"} & body.keys()):
                return f"{answer.status_code} without an error: {answer.text[:200]}"
        return ""

    def _grpc(self, rng: random.Random) -> tuple[str, str, str]:
        path, kind, streams = rng.choice(_CALLS)
        sent = message(rng, kind).SerializeToString()
        if rng.random() < 0.4:
            sent = mutated(rng, sent)
        metadata = (("authorization", f"Bearer {self._target.key}"),) if rng.random() < 0.98 else ()
        compression = rng.choice((None, None, grpc.Compression.Gzip))
        given: dict[str, Any] = {"metadata": metadata, "timeout": PATIENCE, "compression": compression}
        named = f"gRPC {path.rpartition('.')[2]}"
        path += "" if rng.random() < 0.97 else "None"
        try:
            if streams:
                requests = iter([sent] * rng.choice((0, 1, 2, 5)))
                stream: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(path)
                for answer in stream(requests, **given):
                    if leak := self._leak(answer):
                        return named, "OK", leak
            elif leak := self._leak(self._channel.unary_unary(path)(sent, **given)):
                return named, "OK", leak
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            # gRPC's own words for bytes that are no message, and ours for a job too many.
            said = ("deserializing request", "jobs at a time")
            ours = code in OURS and not any(words in details for words in said)
            return named, code, self._leak(details.encode()) or (f"{code}: {details[:200]}" if ours else "")
        return named, "OK", ""

    def _leak(self, content: bytes) -> str:
        found = next((secret for secret in self._secrets if secret.encode() in content), None)
        return "" if found is None else f"the answer holds {found[:20]!r}: {content[:200]!r}"


def _fill_collection(target: Alone) -> None:
    """Something to be found, told and thrown away by the requests; without collections it is refused."""
    headers = {"authorization": f"Bearer {target.key}"}
    with httpx.Client(base_url=target.http, headers=headers, timeout=PATIENCE) as client:
        client.post("/v1/collections", json={"name": KEPT, "fields": {"album": "text"}})
        for known in ("a", "b"):
            image = base64.b64encode(images()[0]).decode()
            client.post(f"/v1/collections/{KEPT}/items", json={"items": [{"id": known, "image": image}]})


def fuzz(target: Alone, *, bodies: int, seed: int, first: int = 0) -> Report:
    """Send the requests `first` to `first + bodies` of `seed`."""
    report = Report()
    fuzzer = Fuzzer(target, seed)
    with contextlib.closing(fuzzer), ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(fuzzer.send, range(200)):  # what it takes to be warm is not counted as growth
            pass
        before = target.megabytes()
        began = time.monotonic()
        for index, (kind, answer, wrong) in _sent(pool, fuzzer, first, bodies):
            report.bodies += 1
            report.counts[kind, answer] += 1
            if wrong:
                report.failures.append(f"seed {seed} index {index}, {kind}: {wrong}")
                print(f"failure: {report.failures[-1]}", flush=True)
        report.seconds = time.monotonic() - began
    if not target.process.is_running() or httpx.get(f"{target.http}/livez").status_code != 200:
        report.failures.append("the gateway has ended")
    else:
        report.grown = target.megabytes() - before
        if report.grown > MOST_MEGABYTES:
            report.failures.append(f"the gateway has grown by {report.grown:.0f} MB")
    return report


def _sent(
    pool: ThreadPoolExecutor, fuzzer: Fuzzer, first: int, bodies: int
) -> Iterator[tuple[int, tuple[str, str, str]]]:
    for start in range(first, first + bodies, 1000):
        part = range(start, min(start + 1000, first + bodies))
        yield from zip(part, pool.map(fuzzer.send, part), strict=True)


def main(arguments: list[str]) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.gateway.fuzz")
    parser.add_argument("--bodies", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, metavar="INDEX", help="the index to begin with")
    options = parser.parse_args(arguments)
    with alone() as target:
        report = fuzz(target, bodies=options.bodies, seed=options.seed, first=options.first)
    for (kind, answer), count in sorted(report.counts.items()):
        print(f"{count:8}  {kind}: {answer}")
    facts = {
        "bodies": report.bodies,
        "per_second": round(report.bodies / report.seconds, 1),
        "failures": len(report.failures),
        "grown_mb": round(report.grown),
    }
    print(f"result: {json.dumps(facts)}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
