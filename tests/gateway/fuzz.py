"""Send a gateway thousands of broken requests over HTTP and gRPC, and see that it keeps its promises.

    python -m tests.gateway.fuzz --bodies 50000 [--seed N] [--first INDEX]

starts a gateway in a process of its own, before an engine in memory. Addresses, methods and fields are those
that its own OpenAPI document and the service's descriptor name, so that a new call is fuzzed without a line
here. It fails, with exit status 1, when an answer is a failure of ours (500, INTERNAL, UNKNOWN, or none),
tells of the gateway's files or its key, is no JSON with an error's code, or when the process has ended or
grown by more than 500 MB. A request is named by seed and index: `--first INDEX --bodies 1` sends it again.

The last line is `result: {JSON}` with bodies, per_second, failures and grown_mb.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx

from gateway.rpc import embedder_pb2 as pb
from tests.fuzz import contents
from tests.fuzz.images import junk, mutated
from tests.gateway.alone import Alone, alone
from tests.places import REPOSITORY

PATIENCE = 60.0
THREADS = 8
MOST_MEGABYTES = 500.0
METHODS = ("POST",) * 6 + ("GET", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "FOO")
TYPES = ("application/json",) * 8 + ("", "text/plain", "application/x+json", "image/png", "\xff", "a" * 5000)
OURS = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "DEADLINE_EXCEEDED", "UNAVAILABLE"}
_SERVICE = pb.DESCRIPTOR.services_by_name["Embedder"]


@dataclass
class Report:
    """What came of a run: how often each answer came, and what was wrong."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    bodies: int = 0
    seconds: float = 0.0
    grown: float = 0.0


def instance(rng: random.Random, schema: dict[str, Any], depth: int = 0) -> Any:
    """A value that a JSON schema allows, or nearly so."""
    if rng.random() < 0.08 or depth > 6:
        return contents.value(rng)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if "properties" in schema:
        fields = schema["properties"]
        kept = [name for name in fields if name in schema.get("required", ()) or rng.random() < 0.5]
        return {name: instance(rng, fields[name], depth + 1) for name in kept}
    if "oneOf" in schema or "anyOf" in schema:
        return instance(rng, rng.choice(schema.get("oneOf") or schema["anyOf"]), depth + 1)
    kind = schema.get("type")
    kind = rng.choice(kind) if isinstance(kind, list) else kind
    if kind == "array":
        count = rng.choice((0, 1, 1, 2, 3, 30))
        return [instance(rng, schema.get("items", {}), depth + 1) for _ in range(count)]
    if kind == "integer":
        return rng.choice((0, 1, 32, -1, 2**31, 10**30))
    if kind == "number":
        return rng.choice((0.0, 1.5, -1e308))
    if kind == "boolean":
        return rng.random() < 0.5
    return contents.words(rng) if kind == "string" else contents.value(rng)


def message(rng: random.Random, descriptor: Any, depth: int = 0) -> Any:
    """A message of protobuf with arbitrary fields."""
    made = descriptor._concrete_class()
    for each in descriptor.fields:
        if rng.random() < 0.3 or depth > 4:
            continue
        many = each.is_repeated
        values = [_scalar(rng, each, depth) for _ in range(rng.choice((0, 1, 2, 20)) if many else 1)]
        if each.message_type is not None and not many:
            getattr(made, each.name).CopyFrom(values[0])
        elif each.message_type is not None and each.message_type.GetOptions().map_entry:
            continue
        elif many:
            getattr(made, each.name).extend(values)
        else:
            setattr(made, each.name, values[0])
    return made


def _scalar(rng: random.Random, each: Any, depth: int) -> Any:
    if each.message_type is not None:
        return message(rng, each.message_type, depth + 1)
    if each.cpp_type == each.CPPTYPE_STRING:
        if each.type == each.TYPE_BYTES:
            return contents.image(rng)
        return contents.words(rng).encode("utf-8", "replace").decode()
    if each.cpp_type in (each.CPPTYPE_FLOAT, each.CPPTYPE_DOUBLE):
        return rng.choice((0.0, -1.0, 1e30, float("nan")))
    if each.cpp_type == each.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if each.cpp_type == each.CPPTYPE_ENUM:
        return rng.choice(each.enum_type.values).number
    return rng.choice((0, 1, 7, 2**31 - 1))


class Fuzzer:
    """Makes, sends and judges the requests of one seed."""

    def __init__(self, target: Alone, seed: int) -> None:
        self._target = target
        self._seed = seed
        self._secrets = [target.key, str(REPOSITORY), "Traceback", "site-packages", '.py"', ":7070"]
        self._schemas: dict[str, dict[str, Any]] = {}
        for path, methods in httpx.get(f"{target.http}/openapi.json").json()["paths"].items():
            body = next(iter(methods.values())).get("requestBody", {}).get("content", {})
            self._schemas[path] = body.get("application/json", {}).get("schema", {})
        self._own = threading.local()
        self._clients: list[httpx.Client] = []
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
        if rng.random() < 0.2:
            content = mutated(rng, content)
        headers: list[tuple[bytes, bytes]] = []
        if rng.random() < 0.98:
            headers.append((b"authorization", b"Bearer " + self._target.key.encode()))
        if kind := rng.choice(TYPES):
            headers.append((b"content-type", kind.encode("latin-1")))
        if rng.random() < 0.1:
            content = gzip.compress(content) if rng.random() < 0.7 else content
            headers.append((b"content-encoding", rng.choice((b"gzip", b"deflate", b"br"))))
        if rng.random() < 0.05:
            headers.append((b"x-junk", bytes(byte for byte in junk(rng) if byte > 32 and byte != 127)))
        path = path.replace("{model}", rng.choice(("clip", "clip@1.0", "clip@", "%00", "..", "%ff" * 9)))
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

    def _wrong(self, answer: httpx.Response) -> str:
        if leak := self._leak(answer.content):
            return leak
        if answer.status_code >= 500:
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
        method = rng.choice(list(_SERVICE.methods))
        sent = message(rng, method.input_type).SerializeToString()
        if rng.random() < 0.4:
            sent = mutated(rng, sent)
        path = f"/{_SERVICE.full_name}/{method.name if rng.random() < 0.97 else 'None'}"
        metadata = (("authorization", f"Bearer {self._target.key}"),) if rng.random() < 0.98 else ()
        compression = rng.choice((None, None, grpc.Compression.Gzip))
        given: dict[str, Any] = {"metadata": metadata, "timeout": PATIENCE, "compression": compression}
        named = f"gRPC {method.name}"
        try:
            if method.client_streaming:
                requests = iter([sent] * rng.choice((0, 1, 2, 5)))
                for answer in self._channel.stream_stream(path)(requests, **given):
                    if leak := self._leak(answer):
                        return named, "OK", leak
            elif leak := self._leak(self._channel.unary_unary(path)(sent, **given)):
                return named, "OK", leak
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            # gRPC's own words for bytes that are no message.
            ours = code in OURS and "deserializing request" not in details
            return named, code, self._leak(details.encode()) or (f"{code}: {details[:200]}" if ours else "")
        return named, "OK", ""

    def _leak(self, content: bytes) -> str:
        found = next((secret for secret in self._secrets if secret.encode() in content), None)
        return "" if found is None else f"the answer holds {found[:20]!r}: {content[:200]!r}"


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
