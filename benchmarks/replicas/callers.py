"""Callers of several replicas, as users write them: over HTTP and gRPC, free, pinned, and holding a space.

Arrivals are random at a set rate, whatever became of those before, and a latency counts from when the request
was due. Every item was embedded by each track before, so that a vector is known for one of its space.

    client   babelclip's own client as it comes: a text, then an image, which must be of one space
    plain    urllib3, or gRPC's stub, with the retries that they offer; text and image in one request
    pinned   the same, which names its track in a header and gets that one
    holder   the same, which insists on a space and names no track: its space, or a refusal
"""

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import grpc
import grpc.aio
import numpy as np
import urllib3
from numpy.typing import NDArray

from babelclip import AsyncClient, AsyncTransport, Embeddings, SpaceMismatch
from babelclip.transports.torchserve import bearer
from babelclip.transports.url import open_async_transport
from benchmarks.support import inputs
from benchmarks.support.routing import TRACK_HEADER, Routing
from gateway.rpc import embedder_pb2 as pb

POOL = 16  # texts, and images
ALIKE = 0.99  # cosine of two vectors of one item in one space, however they were batched
TIMEOUT = 30.0
THREADS = 32
# The share of the requests that is of each kind.
SHARES = {"client": 0.5, "plain": 0.3, "pinned": 0.1, "holder": 0.1}
TRANSPORTS = ("http", "grpc")
# What users set: repeat what had no answer, found nobody to answer, or was told to come again (429, which
# urllib3 repeats for its Retry-After); embedding changes nothing.
RETRY = urllib3.Retry(
    total=6, backoff_factor=0.1, backoff_max=2.0, status_forcelist=(502, 503, 504), allowed_methods=None
)
SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "babelclip.v1.Embedder"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
}


@dataclass(frozen=True)
class Outcome:
    """A request: when it was due and was over, in seconds of the monotonic clock, and why it failed."""

    kind: str
    start: float
    end: float
    error: str


@dataclass(frozen=True)
class Found:
    """An answer: its space, and float32 [items, dim]."""

    space: str
    vectors: NDArray[np.float32]


class Refused(Exception):
    """The caller insists on a space, and was told that this is another."""


@dataclass
class Counts:
    """What became of all requests.

    Attributes:
        asked, answered: items, and those of them that have a vector.
        refused: requests of holders that were told that the space is another.
        mixed: requests, or pairs of a client, whose vectors are of two spaces or not of the one they name.
        wrong: requests with a vector that is none of any space.
        shares: requests without a track by the space that answered them.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    asked: int = 0
    answered: int = 0
    failed: int = 0
    refused: int = 0
    mixed: int = 0
    wrong: int = 0
    shares: dict[str, int] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Items of which nothing was heard: neither a vector nor that they have none."""
        return self.asked - self.answered - self.failed


class Callers:
    """All callers. Used within one event loop, as an asynchronous context."""

    def __init__(self, routing: Routing, key: str) -> None:
        self._routing = routing
        self._key = key
        texts, images = inputs.texts(), inputs.images()
        each = min(POOL, len(texts), len(images))
        self._texts, self._images = texts[:each], images[:each]
        self._threads = ThreadPoolExecutor(THREADS)
        self._pool = urllib3.PoolManager(maxsize=THREADS, retries=RETRY, timeout=TIMEOUT)
        self._spaces: dict[str, str] = {}
        self._known: dict[str, NDArray[np.float32]] = {}
        self._chance = np.random.default_rng(0)
        self.counts = Counts()

    async def __aenter__(self) -> "Callers":
        options = [("grpc.service_config", json.dumps(SERVICE_CONFIG)), ("grpc.enable_retries", 1)]
        self._channel = grpc.aio.insecure_channel(self._routing.grpc.removeprefix("grpc://"), options=options)
        self._embed: Any = self._channel.unary_unary(
            "/babelclip.v1.Embedder/Embed",
            request_serializer=pb.EmbedItemsRequest.SerializeToString,
            response_deserializer=pb.EmbedItemsResponse.FromString,
        )
        self._transports: dict[str, AsyncTransport] = {
            "http": open_async_transport(self._routing.http),
            "grpc": open_async_transport(self._routing.grpc),
        }
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()
        for transport in self._transports.values():
            await transport.close()
        self._pool.clear()
        self._threads.shutdown()

    async def learn(self, tracks: Sequence[str]) -> dict[str, str]:
        """Have every track embed all items → the space of each.

        Raises:
            SystemExit: two tracks are of one space, so that nobody could tell them apart.
        """
        for track in tracks:
            rows = [await self._over_http(text, image, track, "") for text, image in self._pairs()]
            (space,) = {found.space for found in rows}
            self._spaces[track] = space
            self._known[space] = np.stack([found.vectors for found in rows])
        if len(self._known) != len(tracks):
            raise SystemExit("the tracks are of one space, so that nobody could tell them apart")
        return dict(self._spaces)

    async def call(self, rate: float, stop: asyncio.Event) -> None:
        """Calls of every kind, `rate` requests a second together, until `stop`."""
        works: dict[str, Callable[[float, str], Coroutine[Any, Any, None]]] = {
            "client": self._client,
            "plain": self._plain,
            "pinned": self._pinned,
            "holder": self._holder,
        }
        await asyncio.gather(
            *(
                self._arrivals(rate * SHARES[kind] / len(TRANSPORTS), transport, work, stop)
                for kind, work in works.items()
                for transport in TRANSPORTS
            )
        )

    async def _arrivals(
        self,
        rate: float,
        transport: str,
        work: Callable[[float, str], Coroutine[Any, Any, None]],
        stop: asyncio.Event,
    ) -> None:
        if work == self._client:
            rate /= 2  # It asks twice.
        due = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                due += float(self._chance.exponential(1 / rate))
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(work(due, transport))

    async def _client(self, due: float, transport: str) -> None:
        """A client that is new: it knows nothing of spaces, and its connections are open already."""
        row = self._row()
        client = AsyncClient("", token=self._key, transport=self._transports[transport], timeout=TIMEOUT)
        kind = f"client, {transport}"
        text = await self._timed(
            kind, due, [row], [0], lambda: _found(client.embed_texts([self._texts[row]]))
        )
        if text is None:
            return
        self._share(text)
        now = time.monotonic()
        image = await self._timed(
            kind, now, [row], [1], lambda: _found(client.embed_images([self._images[row]]))
        )
        if image is not None and image.space != text.space:
            self.counts.mixed += 1

    async def _plain(self, due: float, transport: str) -> None:
        found = await self._pair(due, f"plain, {transport}", transport, "", "")
        if found is not None:
            self._share(found)

    async def _pinned(self, due: float, transport: str) -> None:
        track = str(self._chance.choice(list(self._spaces)))
        found = await self._pair(due, f"pinned, {transport}", transport, track, "")
        if found is not None and found.space != self._spaces[track]:
            self.counts.mixed += 1

    async def _holder(self, due: float, transport: str) -> None:
        space = str(self._chance.choice(list(self._known)))
        found = await self._pair(due, f"holder, {transport}", transport, "", space)
        if found is not None and found.space != space:
            self.counts.mixed += 1

    async def _pair(self, due: float, kind: str, transport: str, track: str, space: str) -> Found | None:
        row = self._row()
        ask = self._over_http if transport == "http" else self._over_grpc
        return await self._timed(
            kind, due, [row, row], [0, 1], lambda: ask(self._texts[row], self._images[row], track, space)
        )

    async def _timed(
        self,
        kind: str,
        due: float,
        rows: Sequence[int],
        towers: Sequence[int],
        ask: Callable[[], Awaitable[Found]],
    ) -> Found | None:
        """The answer to a request, judged; None where there is none."""
        counts, error, found = self.counts, "", None
        counts.asked += len(rows)
        try:
            found = await ask()
        except Refused:
            counts.refused += 1
            counts.failed += len(rows)
        except Exception as problem:  # Whatever a caller may see is a failure.
            error = f"{type(problem).__name__}: {problem}"
            counts.failed += len(rows)
        counts.outcomes.append(Outcome(kind, due, time.monotonic(), error))
        if found is not None:
            counts.answered += len(found.vectors)
            self._judge(found, rows, towers)
        return found

    def _judge(self, found: Found, rows: Sequence[int], towers: Sequence[int]) -> None:
        """Whether the vectors are of the space that the answer names."""
        alike = {
            space: (found.vectors * known[list(rows), list(towers)]).sum(1) >= ALIKE
            for space, known in self._known.items()
        }
        named = alike.pop(found.space, np.zeros(len(rows), bool))
        if named.all():
            return
        if any(other[~named].any() for other in alike.values()):
            self.counts.mixed += 1
        else:
            self.counts.wrong += 1

    async def _over_http(self, text: str, image: bytes, track: str, space: str) -> Found:
        shown = [text, {"image": base64.b64encode(image).decode()}]
        body = {"input": shown, "encoding_format": "base64", **({"space": space} if space else {})}
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        if track:
            headers[TRACK_HEADER] = track
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(
            self._threads,
            lambda: self._pool.request(
                "POST", f"{self._routing.http}/v1/embeddings", body=json.dumps(body), headers=headers
            ),
        )
        if answer.status == 409 and space:
            raise Refused
        if answer.status != 200:
            raise RuntimeError(f"HTTP {answer.status}: {answer.data[:200]!r}")
        told = json.loads(answer.data)
        rows = [np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in told["data"]]
        return Found(told["space"], np.stack(rows))

    async def _over_grpc(self, text: str, image: bytes, track: str, space: str) -> Found:
        request = pb.EmbedItemsRequest(items=[pb.Item(text=text), pb.Item(image=image)], space=space)
        metadata = [*bearer(self._key), *([(TRACK_HEADER.lower(), track)] if track else [])]
        try:
            answer = await self._embed(request, metadata=metadata, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION and space:
                raise Refused from None
            raise RuntimeError(f"gRPC {error.code().name}: {error.details()}") from None
        if answer.errors:
            raise RuntimeError(answer.errors[0].message)
        return Found(answer.space, np.frombuffer(answer.vectors, "<f4").reshape(-1, answer.dim))

    def _share(self, found: Found) -> None:
        self.counts.shares[found.space] = self.counts.shares.get(found.space, 0) + 1

    def _row(self) -> int:
        return int(self._chance.integers(len(self._texts)))

    def _pairs(self) -> list[tuple[str, bytes]]:
        return list(zip(self._texts, self._images, strict=True))


async def _found(embedding: Awaitable[Embeddings]) -> Found:
    try:
        embeddings = await embedding
    except SpaceMismatch as error:
        # It named its version, so that the proxy must have found it.
        raise RuntimeError(f"a client lost its space: {error}") from None
    return Found(embeddings.space, embeddings.vectors)
