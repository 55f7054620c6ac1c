"""Load on a server: requests in a closed or an open loop, and what became of each."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import grpc
import numpy as np

from babelclip.embedding_pb2 import EmbedRequest, EmbedResponse
from babelclip.transports.torchserve import InferenceStub, bearer
from babelclip.transports.torchserve_pb2 import PredictionsRequest

PROTOBUF = "application/x-protobuf"
TIMEOUT = 300.0
LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True)
class Body:
    """A request's body, made before the clock runs."""

    data: bytes
    content_type: str
    items: int


@dataclass(frozen=True)
class Outcome:
    start: float
    """When the request was due, in seconds of the monotonic clock; in an open loop it may have left later."""
    end: float
    items: int
    """Vectors that came back."""
    error: str
    """Empty when every item has its vector."""
    late: float = 0.0
    """Seconds between the moment when it was due and when it left."""


class Sender(Protocol):
    async def send(self, body: Body) -> EmbedResponse:
        """The answer, or an exception that says what the caller saw."""
        ...

    async def close(self) -> None: ...


class HttpSender:
    """One connection for each request in flight."""

    def __init__(self, url: str, model: str, key: str) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        self.session = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT)
        )
        self.url = f"{url}/predictions/{model}"
        self.headers = {"Authorization": f"Bearer {key}", "Accept": PROTOBUF}

    async def send(self, body: Body) -> EmbedResponse:
        headers = {**self.headers, "Content-Type": body.content_type}
        async with self.session.post(self.url, data=body.data, headers=headers) as response:
            answer = await response.read()
            if response.headers.get("Content-Type", "").partition(";")[0] != PROTOBUF:
                raise RuntimeError(f"HTTP {response.status}")
        return EmbedResponse.FromString(answer)

    async def close(self) -> None:
        await self.session.close()


class GrpcSender:
    """One channel; `raw` bodies go as the map's entry "data", others as "request"."""

    def __init__(self, url: str, model: str, key: str) -> None:
        options = [("grpc.max_receive_message_length", LARGEST), ("grpc.max_send_message_length", LARGEST)]
        self.channel = grpc.aio.insecure_channel(url.removeprefix("grpc://"), options=options)
        channel: Any = self.channel  # The stub is typed for blocking channels; with this one it is awaited.
        self.stub: Any = InferenceStub(channel)
        self.model, self.metadata = model, bearer(key)

    async def send(self, body: Body) -> EmbedResponse:
        entry = "request" if body.content_type == PROTOBUF else "data"
        request = PredictionsRequest(model_name=self.model, input={entry: body.data})
        try:
            answer = await self.stub.Predictions(request, metadata=self.metadata, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as error:
            raise RuntimeError(f"gRPC {error.code().name}") from None
        return EmbedResponse.FromString(answer.prediction)

    async def close(self) -> None:
        await self.channel.close()


def single(items: Sequence[str | bytes]) -> list[Body]:
    """A request for each item, as it is."""
    return [
        Body(item.encode(), "text/plain", 1) if isinstance(item, str) else Body(item, "image/jpeg", 1)
        for item in items
    ]


def many(items: Sequence[str | bytes], count: int) -> list[Body]:
    """Requests of `count` items each, in the wire format."""
    bodies = []
    for start in range(0, len(items) - count + 1, count):
        part = items[start : start + count]
        request = EmbedRequest(
            texts=[item.encode() for item in part if isinstance(item, str)],
            images=[item for item in part if isinstance(item, bytes)],
        )
        bodies.append(Body(request.SerializeToString(), PROTOBUF, count))
    return bodies


async def one(sender: Sender, body: Body, due: float, check: Callable[[Body, EmbedResponse], str]) -> Outcome:
    late = time.monotonic() - due
    try:
        answer = await sender.send(body)
        failed = check(body, answer)
        done = body.items - len(answer.errors)
    except (TimeoutError, RuntimeError, aiohttp.ClientError) as error:
        failed, done = str(error) or type(error).__name__, 0
    return Outcome(due, time.monotonic(), done, failed, late)


def all_embedded(body: Body, answer: EmbedResponse) -> str:
    """Empty when every item of the request has its vector, else the first error's code."""
    if answer.HasField("error"):
        return answer.error.code
    return answer.errors[0].code if answer.errors else ""


async def closed_loop(
    sender: Sender,
    bodies: Sequence[Body],
    *,
    concurrency: int,
    seconds: float,
    check: Callable[[Body, EmbedResponse], str] = all_embedded,
) -> list[Outcome]:
    """`concurrency` callers, each of which sends its next request when the last was answered."""
    turn = itertools.cycle(bodies)
    end = time.monotonic() + seconds
    outcomes: list[Outcome] = []

    async def caller() -> None:
        while time.monotonic() < end:
            outcomes.append(await one(sender, next(turn), time.monotonic(), check))

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return outcomes


async def open_loop(
    sender: Sender,
    bodies: Sequence[Body],
    *,
    rate: float,
    seconds: float,
    seed: int = 0,
    check: Callable[[Body, EmbedResponse], str] = all_embedded,
) -> list[Outcome]:
    """Requests at a set rate, whether or not earlier ones were answered; arrivals are random (Poisson).

    Equal seeds give equal arrivals. A request's latency counts from the moment it was due, so that a server
    that stalls does not hide it.
    """
    gaps = np.random.default_rng(seed).exponential(1 / rate, size=max(1, int(rate * seconds)))
    turn = itertools.cycle(bodies)
    begin = time.monotonic()
    tasks: list[Awaitable[Outcome]] = []
    for due in begin + np.cumsum(gaps):
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        tasks.append(asyncio.create_task(one(sender, next(turn), float(due), check)))
    return list(await asyncio.gather(*tasks))


def summary(outcomes: Sequence[Outcome], *, warm_up: float) -> dict[str, Any]:
    """Items a second, latencies in milliseconds, errors by kind; the first `warm_up` seconds are left out.

    The rate is the slope of the items over the time they came back, which does not depend on where the
    window cuts a batch in two; where all came back in one burst, it is the items over the whole time.
    """
    begin = min(outcome.start for outcome in outcomes) + warm_up
    kept = sorted((o for o in outcomes if o.end >= begin), key=lambda outcome: outcome.end)
    sound = [outcome for outcome in kept if outcome.items]
    latencies = [1e3 * (o.end - o.start) for o in sound if o.start >= begin] or [float("nan")]
    errors: dict[str, int] = {}
    for outcome in kept:
        if outcome.error:
            errors[outcome.error] = errors.get(outcome.error, 0) + 1
    rate = float("nan")
    if sound:
        ends = np.array([outcome.end for outcome in sound])
        items = np.cumsum([outcome.items for outcome in sound])
        if ends[-1] - ends[0] > (ends[-1] - begin) / 2:
            rate = float(np.polyfit(ends - ends[0], items, 1)[0])
        else:  # Too few batches came back for a slope.
            rate = float(items[-1] / (ends[-1] - begin))
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99])
    return {
        "items_per_s": round(rate, 2),
        "p50_ms": round(float(p50), 2),
        "p95_ms": round(float(p95), 2),
        "p99_ms": round(float(p99), 2),
        "requests": len(kept),
        "errors": errors,
    }
