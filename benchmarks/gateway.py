"""What the gateway costs its callers: the same items through it and straight to the engine, in turns.

    python -m benchmarks.gateway [--pairs 8] [--seconds 6] [--concurrency 64] [--quick]

One image or one text per request. Straight to the engine they go as our own clients send them (an image as
it is, vectors as protobuf), through the gateway as OpenAI's call has it (JSON, base64 both ways) and over its
gRPC. A ratio is that of a turn to the turns of the engine before and after it, and the median of those is
told. The load generator has the same cores as the servers, so that all which the gateway costs is counted.
Then one caller alone, in turns of single requests: how much later the answer comes. At last texts of which
half were asked before, by a gateway without a cache and by one with it.
"""

import argparse
import asyncio
import base64
import contextlib
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import psutil

from babelclip.embedding_pb2 import EmbedResponse
from babelclip.keys.entries import SCOPES
from babelclip.keys.file import add
from babelclip.transports.torchserve import bearer
from benchmarks.client import between
from benchmarks.support import inputs, load, report, towers
from benchmarks.support.options import make_parser, parse
from benchmarks.support.ray_server import RayServer
from benchmarks.support.server import Server, serving
from benchmarks.support.towers import REPOSITORY
from gateway.rpc import embedder_pb2 as pb

SERVICE = "/babelclip.v1.Embedder/Embed"
WARM_UP = 1.0
REPEATING = 20_000  # requests of a turn that repeats itself, more than are sent in one
ALONE = 4  # requests in a turn of the caller who is alone


@dataclass(frozen=True)
class Gateway:
    """A gateway's process, where it listens, and a key of its own."""

    http: str
    grpc: str
    key: str
    pid: int
    keys_file: Path

    def with_key(self, name: str) -> "Gateway":
        """The same gateway, called with another key."""
        return replace(self, key=add(self.keys_file, name))

    def cpu_seconds(self) -> float:
        """What its processes have used so far."""
        family = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]
        return sum(one.cpu_times().user + one.cpu_times().system for one in family)


@contextlib.contextmanager
def gateway_before(server: Server | RayServer, **entries: object) -> Iterator[Gateway]:
    """`python -m gateway` before a server, on free ports; `entries` are further ones of its settings."""
    with tempfile.TemporaryDirectory(prefix="babelclip-gateway") as made:
        folder = Path(made)
        keys = folder / "keys.json"
        key = add(keys, "benchmark", scopes=SCOPES)
        values = {
            "port": 0,
            "grpc_port": 0,
            "metrics_port": 0,
            "engine": server.grpc,
            "engine_token_file": str(server.token_file),
            "keys_file": str(keys),
            "timeout": load.TIMEOUT,
            **entries,
        }
        config = folder / "gateway.toml"
        # A string, a number or a truth value looks the same in JSON and in TOML.
        config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
        command = [sys.executable, "-m", "gateway", "--config", str(config)]
        # It has a line for each request.
        log = (folder / "log").open("w+")
        with (
            log,
            subprocess.Popen(
                command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=log, text=True
            ) as process,
        ):
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    if line.startswith("listening: "):
                        break
                else:
                    log.seek(0)
                    raise SystemExit(f"the gateway ended instead of listening:\n{log.read()}")
                found = json.loads(line.removeprefix("listening: "))
                yield Gateway(found["http"], found["grpc"], key, process.pid, keys)
            finally:
                process.terminate()
                process.wait(timeout=120)


class HttpSender:
    """OpenAI's call; a body is the JSON of a request."""

    def __init__(self, gateway: Gateway) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=load.TIMEOUT)
        )
        self._url = f"{gateway.http}/v1/embeddings"
        self._headers = {"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"}

    async def send(self, body: load.Body) -> EmbedResponse:
        """The vectors in our form, so that they are counted and compared as the engine's are."""
        async with self._session.post(self._url, data=body.data, headers=self._headers) as response:
            answer = await response.read()
            if response.status != 200:
                raise RuntimeError(f"HTTP {response.status}: {answer[:200]!r}")
        found = json.loads(answer)
        vectors = b"".join(base64.b64decode(row["embedding"]) for row in found["data"])
        return EmbedResponse(space=found["space"], dim=found["dim"], vectors=vectors)

    async def close(self) -> None:
        await self._session.close()


class GrpcSender:
    """`Embed` over one channel; a body is the bytes of its request."""

    def __init__(self, gateway: Gateway) -> None:
        scheme, _, target = gateway.grpc.partition("://")
        self._channel = (
            grpc.aio.secure_channel(target, grpc.ssl_channel_credentials())
            if scheme == "grpcs"
            else grpc.aio.insecure_channel(target)
        )
        self._embed: Any = self._channel.unary_unary(
            SERVICE, request_serializer=None, response_deserializer=pb.EmbedItemsResponse.FromString
        )
        self._metadata = bearer(gateway.key)

    async def send(self, body: load.Body) -> EmbedResponse:
        """The same."""
        try:
            found = await self._embed(body.data, metadata=self._metadata, timeout=load.TIMEOUT)
        except grpc.aio.AioRpcError as error:
            raise RuntimeError(f"gRPC {error.code().name}: {error.details()}") from None
        answer = EmbedResponse(space=found.space, dim=found.dim, vectors=found.vectors)
        for failed in found.errors:
            answer.errors.add(index=failed.index, code=failed.code)
        return answer

    async def close(self) -> None:
        await self._channel.close()


def _parts(items: Sequence[str | bytes], count: int) -> list[Sequence[str | bytes]]:
    return [items[start : start + count] for start in range(0, len(items) - count + 1, count)]


def json_bodies(items: Sequence[str | bytes], count: int = 1, model: str = "") -> list[load.Body]:
    """Requests of OpenAI's call with `count` items each; of the first model unless one is named."""

    def shown(item: str | bytes) -> Any:
        return item if isinstance(item, str) else {"image": base64.b64encode(item).decode()}

    found = []
    for part in _parts(items, count):
        request = {"input": [shown(item) for item in part], "encoding_format": "base64", "truncate": True}
        if model:
            request["model"] = model
        found.append(load.Body(json.dumps(request).encode(), "", count))
    return found


def grpc_bodies(items: Sequence[str | bytes], count: int = 1, model: str = "") -> list[load.Body]:
    """Requests of `Embed`, in the same way."""
    found = []
    for part in _parts(items, count):
        given = [pb.Item(text=item) if isinstance(item, str) else pb.Item(image=item) for item in part]
        request = pb.EmbedItemsRequest(items=given, model=model)
        found.append(load.Body(request.SerializeToString(), "", count))
    return found


class Comparison:
    """One tower over one transport, through the gateway and straight to the engine."""

    def __init__(self, server: Server, gateway: Gateway, transport: str, tower: str) -> None:
        self._servers = server, gateway
        self._transport, self._tower = transport, tower
        items: Sequence[str | bytes] = inputs.texts() if tower == "text" else inputs.images()
        self._bodies = {
            "engine": load.single(items),
            "gateway": json_bodies(items) if transport == "http" else grpc_bodies(items),
        }

    def _sender(self, way: str) -> load.Sender:
        server, gateway = self._servers
        if way == "engine":
            return server.sender(self._transport, self._tower)
        return HttpSender(gateway) if self._transport == "http" else GrpcSender(gateway)

    async def rate(self, way: str, concurrency: int, seconds: float) -> float:
        """Items a second of many callers."""
        sender = self._sender(way)
        try:
            outcomes = await load.closed_loop(
                sender, self._bodies[way], concurrency=concurrency, seconds=seconds + WARM_UP
            )
        finally:
            await sender.close()
        found = load.summary(outcomes, warm_up=WARM_UP)
        if found["errors"]:
            raise SystemExit(f"items failed: {found['errors']}")
        return float(found["items_per_s"])

    async def many(self, options: argparse.Namespace) -> dict[str, list[float]]:
        """Rates of both ways in turns, the engine's first and last, and the ratios."""
        concurrency, seconds = options.concurrency, options.seconds
        engine = [await self.rate("engine", concurrency, seconds)]
        through: list[float] = []
        for _ in range(options.pairs):
            through.append(await self.rate("gateway", concurrency, seconds))
            engine.append(await self.rate("engine", concurrency, seconds))
        ratios = [between(rate, *engine[turn : turn + 2]) for turn, rate in enumerate(through)]
        return {"engine": engine, "gateway": through, "ratios": ratios}

    async def alone(self, requests: int) -> dict[str, float]:
        """Milliseconds of a request, the median, of one caller by both ways in short turns."""
        senders = {way: self._sender(way) for way in self._bodies}
        taken: dict[str, list[float]] = {way: [] for way in senders}
        try:
            for turn in range(max(1, requests // ALONE)):
                for way in sorted(senders, reverse=turn % 2 == 0):
                    for one in range(ALONE):
                        body = self._bodies[way][(turn * ALONE + one) % len(self._bodies[way])]
                        began = time.perf_counter()
                        await senders[way].send(body)
                        taken[way].append(1e3 * (time.perf_counter() - began))
        finally:
            for sender in senders.values():
                await sender.close()
        return {way: statistics.median(each) for way, each in taken.items()}


def repeating(share: float, turn: int) -> list[load.Body]:
    """Requests of a text each; `share` of them ask for one of a hundred, the others for what nobody asked."""
    texts, chance = inputs.texts(), random.Random(turn)
    often = texts[:100]
    asked = [
        chance.choice(often) if chance.random() < share else f"{text} {turn}.{number}"
        for number, text in zip(range(REPEATING), itertools.cycle(texts), strict=False)
    ]
    return json_bodies(asked)


async def repeated(plain: Gateway, cached: Gateway, options: argparse.Namespace) -> dict[str, list[float]]:
    """Texts a second of traffic that repeats itself, without and with a cache in turns, and the ratios."""
    turns = itertools.count()

    async def rate(gateway: Gateway) -> float:
        sender = HttpSender(gateway)
        bodies = repeating(options.repeats, next(turns))
        try:
            outcomes = await load.closed_loop(
                sender, bodies, concurrency=options.concurrency, seconds=options.seconds + WARM_UP
            )
        finally:
            await sender.close()
        found = load.summary(outcomes, warm_up=WARM_UP)
        if found["errors"]:
            raise SystemExit(f"items failed: {found['errors']}")
        return float(found["items_per_s"])

    without, having = [await rate(plain)], []
    for _ in range(options.pairs):
        having.append(await rate(cached))
        without.append(await rate(plain))
    ratios = [between(each, *without[turn : turn + 2]) for turn, each in enumerate(having)]
    return {"without": without, "with": having, "ratios": ratios}


def measure(server: Server, gateway: Gateway, options: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """The result, and what it was made of."""
    result: dict[str, Any] = {}
    details: dict[str, Any] = {}
    rows = []
    added = []
    for name, transport, tower in (
        ("http", "http", "vision"),
        ("grpc", "grpc", "vision"),
        ("text", "http", "text"),
        ("text_grpc", "grpc", "text"),
    ):
        comparison = Comparison(server, gateway, transport, tower)
        rates = asyncio.run(comparison.many(options))
        alone = asyncio.run(comparison.alone(options.alone))
        result[f"{name}_of_direct"] = round(statistics.median(rates["ratios"]), 3)
        added.append(alone["gateway"] - alone["engine"])
        engine, through = (statistics.median(rates[way]) for way in ("engine", "gateway"))
        rows.append((f"{tower}, {transport}", engine, through, result[f"{name}_of_direct"], added[-1]))
        details[name] = {"rates": rates, "alone_ms": alone}
    result["added_p50_ms"] = round(max(added), 2)
    report.table(
        f"items a second at concurrency {options.concurrency}",
        ("", "engine", "gateway", "of direct", "added p50, ms"),
        rows,
    )
    return result, details


def main() -> None:
    parser = make_parser("gateway", __doc__)
    parser.add_argument("--pairs", type=int, default=8, help="turns of the gateway, each between two others")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each turn")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--alone", type=int, default=80, help="requests by each way of one caller alone")
    parser.add_argument("--repeats", type=float, default=0.5, help="share of texts that were asked before")
    options = parse(parser, {"pairs": 1, "seconds": 0.5, "concurrency": 4, "alone": 8})
    store = towers.ensure(quick=options.quick).store
    with serving(store) as server, gateway_before(server) as gateway:
        result, details = measure(server, gateway, options)
        with gateway_before(server, cache_mb=64) as cached:
            details["repeated_texts"] = asyncio.run(repeated(gateway, cached, options))
    result["repeated_texts_speedup"] = round(statistics.median(details["repeated_texts"]["ratios"]), 3)
    report.finish("gateway", result, details)


if __name__ == "__main__":
    main()
