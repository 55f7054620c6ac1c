"""The callers of a gateway while the meaning of a model's name changes to and fro, for `benchmarks.rollout`.

A few items are embedded in both versions first, so that each vector that comes back is known for one of its
version. Then call, over HTTP and gRPC: callers of single texts and images, of both in one request, callers
who name a version, and clients that live for a text and then an image. Nothing is tried again.
"""

import argparse
import asyncio
import base64
import itertools
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from babelclip.embedding_pb2 import EmbedResponse
from babelclip.versions.gateway import GatewayVersions
from benchmarks.gateway import Gateway, GrpcSender, HttpSender, gateway_before
from benchmarks.support import inputs, load
from benchmarks.support.ray_server import RayServer
from benchmarks.support.server import Server
from gateway.rpc import embedder_pb2 as pb

NAME = "clip"
VERSIONS = ("1.0", "2.0")
TRANSPORTS = ("http", "grpc")
POOL = 16  # texts, and images
CALLERS = 3  # of each kind and transport
ALIKE = 0.99  # cosine of two vectors of one item in one version, however they were batched; else it is near 0


@dataclass(frozen=True)
class Case:
    """A request: the places of its items in the pool, and the space of its answer where that is settled."""

    body: load.Body
    rows: tuple[int, ...]
    space: str = ""


@dataclass
class Counts:
    """What became of all requests.

    Attributes:
        outcomes: of single texts and images without a version, whose latencies are compared.
        failed: why others failed.
        answered: when each request without a version was sent and answered, and in which space.
        requests: that were answered, with and without a version.
        mixed: answers with a vector of another space than they say, or than their caller is in.
        clients: those that lived for a text and an image.
    """

    outcomes: list[load.Outcome] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    answered: list[tuple[float, float, str]] = field(default_factory=list)
    requests: int = 0
    mixed: int = 0
    clients: int = 0


@dataclass(frozen=True)
class Switch:
    """A promotion or rollback: when it was asked for and was done, and the space that it led to."""

    begin: float
    end: float
    space: str


class Callers:
    """All callers of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        texts, images = inputs.texts(), inputs.images()
        each = min(POOL, len(texts), len(images))
        self._items: list[str | bytes] = [*texts[:each], *images[:each]]
        self._texts = [row for row, item in enumerate(self._items) if isinstance(item, str)]
        self._images = [row for row, item in enumerate(self._items) if isinstance(item, bytes)]
        # By space: the vectors of all items, and the version.
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._versions: dict[str, str] = {}
        self.counts = Counts()

    async def learn(self) -> dict[str, str]:
        """Embeds all items in both versions → the space of each version."""
        sender = HttpSender(self._gateway)
        try:
            for version in VERSIONS:
                answer = await sender.send(self._body("http", range(len(self._items)), version))
                self._vectors[answer.space] = _vectors(answer)
                self._versions[answer.space] = version
        finally:
            await sender.close()
        if len(self._versions) != len(VERSIONS):
            raise SystemExit("both versions are of one space, so that nobody could tell them apart")
        return {version: space for space, version in self._versions.items()}

    async def call(self, stop: asyncio.Event) -> None:
        """Calls of every kind until `stop`."""
        singles = [(row,) for pair in zip(self._texts, self._images, strict=True) for row in pair]
        pairs = list(zip(self._texts, self._images, strict=True))
        works = []
        for transport in TRANSPORTS:
            works.append(self._repeat(transport, self._cases(transport, singles), stop, timed=True))
            works.append(self._repeat(transport, self._cases(transport, pairs), stop))
            pinned = [
                case
                for space, version in self._versions.items()
                for case in self._cases(transport, pairs, version, space)
            ]
            works.append(self._repeat(transport, pinned, stop))
            works.append(self._sessions(transport, pairs, stop))
        await asyncio.gather(*works)

    async def _repeat(
        self, transport: str, cases: Sequence[Case], stop: asyncio.Event, *, timed: bool = False
    ) -> None:
        sender = self._sender(transport)
        turn = itertools.cycle(cases)

        async def caller() -> None:
            while not stop.is_set():
                outcome = await self._one(sender, next(turn))
                if timed:
                    self.counts.outcomes.append(outcome)
                elif outcome.error:
                    self.counts.failed.append(outcome.error)

        try:
            await asyncio.gather(*(caller() for _ in range(CALLERS)))
        finally:
            await sender.close()

    async def _sessions(self, transport: str, pairs: Sequence[tuple[int, ...]], stop: asyncio.Event) -> None:
        """Clients that embed a text, and then an image in the version that the text's answer names."""
        turn = itertools.cycle(pairs)

        async def live() -> None:
            text, image = next(turn)
            sender = self._sender(transport)
            try:
                spaces: list[str] = []
                (unpinned,) = self._cases(transport, [(text,)])
                first = await self._one(sender, unpinned, spaces)
                if first.error:
                    self.counts.failed.append(first.error)
                    return
                (space,) = spaces
                (pinned,) = self._cases(transport, [(image,)], self._versions[space], space)
                second = await self._one(sender, pinned)
                if second.error:
                    self.counts.failed.append(second.error)
                self.counts.clients += 1
            finally:
                await sender.close()

        while not stop.is_set():
            await live()

    async def _one(self, sender: load.Sender, case: Case, spaces: list[str] | None = None) -> load.Outcome:
        """One request; the space of its answer goes into `spaces`."""
        began = time.monotonic()

        def check(body: load.Body, answer: EmbedResponse) -> str:
            if spaces is not None:
                spaces.append(answer.space)
            return self._judge(case, began, body, answer)

        return await load.one(sender, case.body, began, check)

    def _judge(self, case: Case, began: float, body: load.Body, answer: EmbedResponse) -> str:
        if failed := load.all_embedded(body, answer):
            return failed
        expected = self._vectors.get(answer.space)
        if expected is None:
            return f"an answer of the space {answer.space!r}, which neither version has"
        cosines = (_vectors(answer) * expected[list(case.rows)]).sum(1)
        self.counts.requests += 1
        if (case.space and answer.space != case.space) or (cosines < ALIKE).any():
            self.counts.mixed += 1
        if not case.space:
            self.counts.answered.append((began, time.monotonic(), answer.space))
        return ""

    def _cases(
        self, transport: str, rows: Sequence[tuple[int, ...]], version: str = "", space: str = ""
    ) -> list[Case]:
        return [Case(self._body(transport, each, version), tuple(each), space) for each in rows]

    def _body(self, transport: str, rows: Sequence[int], version: str = "") -> load.Body:
        model = f"{NAME}@{version}" if version else NAME
        items = [self._items[row] for row in rows]
        if transport == "grpc":
            made = [pb.Item(text=item) if isinstance(item, str) else pb.Item(image=item) for item in items]
            data = pb.EmbedItemsRequest(model=model, items=made).SerializeToString()
        else:
            shown: list[Any] = [
                item if isinstance(item, str) else {"image": base64.b64encode(item).decode()}
                for item in items
            ]
            data = json.dumps({"model": model, "input": shown, "encoding_format": "base64"}).encode()
        return load.Body(data, "", len(items))

    def _sender(self, transport: str) -> load.Sender:
        return HttpSender(self._gateway) if transport == "http" else GrpcSender(self._gateway)


def _vectors(answer: EmbedResponse) -> NDArray[np.float32]:
    return np.frombuffer(answer.vectors, "<f4").reshape(-1, answer.dim)


def stale(counts: Counts, switches: Sequence[Switch]) -> int:
    """Requests without a version, sent when a switch was done, that had an answer of before it."""
    ends = [*(switch.begin for switch in switches[1:]), float("inf")]
    return sum(
        start >= switch.end and answered <= end and space != switch.space
        for switch, end in zip(switches, ends, strict=True)
        for start, answered, space in counts.answered
    )


def measure(server: Server | RayServer, options: argparse.Namespace) -> tuple[Counts, list[Switch]]:
    """Promotions and rollbacks under all callers."""
    with tempfile.TemporaryDirectory(prefix="babelclip-versions") as folder:
        file = str(Path(folder) / "versions.json")
        with gateway_before(server, versions_file=file) as gateway:
            return asyncio.run(_measure(gateway, options))


async def _measure(gateway: Gateway, options: argparse.Namespace) -> tuple[Counts, list[Switch]]:
    callers = Callers(gateway)
    spaces = await callers.learn()
    stop = asyncio.Event()
    calling = asyncio.create_task(callers.call(stop))
    switches = []
    with GatewayVersions(gateway.http, gateway.key) as versions:
        await asyncio.sleep(options.warm_up + options.pause)
        for number in range(options.switches):
            begin = time.monotonic()
            if number % 2 == 0:
                found = await asyncio.to_thread(versions.promote, NAME, VERSIONS[1])
            else:
                found = await asyncio.to_thread(versions.rollback, NAME)
            end = time.monotonic()
            assert found.version is not None
            switches.append(Switch(begin, end, spaces[found.version]))
            await asyncio.wait([calling], timeout=options.pause)
    stop.set()
    await calling
    return callers.counts, switches
