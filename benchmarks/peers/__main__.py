"""The served towers beside what else could serve them, in turns in one run.

    python -m benchmarks.peers [--seconds 10] [--repeats 2] [--quick]

    ours       these archives in TorchServe, one item per request over HTTP, concurrency 64
    infinity   Infinity 0.0.78 in an environment of its own, the same weights, float32 and bfloat16, by its
               own HTTP call; one item per request, and 32; each round counts the best of these
    plain      a handler as TorchServe's tutorials write it (benchmarks/peers/plain_handler.py), batches of 8

The first run makes Infinity's environment in .run/benchmarks/infinity, which takes minutes and gigabytes. A
peer that cannot run here is left out; `left_out` in the result says which, and why.
"""

import asyncio
import contextlib
import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiohttp
import numpy as np
from numpy.typing import NDArray

from babelclip.embedding_pb2 import EmbedResponse
from benchmarks.peers import infinity, plain
from benchmarks.support import inputs, load, report, towers
from benchmarks.support.options import make_parser, parse
from benchmarks.support.server import Server, serving

CONCURRENCY = 64
MANY = infinity.BATCH
TOWERS = {"image": "vision", "text": "text"}
NO_INFINITY = "it is not installed for a quick run, and has no module for the committed model's text tower"


@dataclass
class Peer:
    """Something that serves; `rates` has an entry for each round."""

    name: str
    sender: Callable[[], load.Sender]
    loads: Sequence[tuple[Sequence[load.Body], int]]
    """Bodies and concurrency; the best of them counts."""
    rates: list[float] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)

    async def measure(self, seconds: float, warm_up: float) -> None:
        """One round: every load for `seconds`, after `warm_up` seconds that are not counted."""
        best = 0.0
        for bodies, concurrency in self.loads:
            sender = self.sender()
            try:
                outcomes = await load.closed_loop(
                    sender, bodies, concurrency=concurrency, seconds=seconds + warm_up
                )
            finally:
                await sender.close()
            found = {**load.summary(outcomes, warm_up=warm_up), "items_per_request": bodies[0].items}
            self.runs.append(found)
            best = max(best, found["items_per_s"])
        self.rates.append(best)


class JsonSender:
    """Posts ready JSON or raw bytes and turns the answer's rows into ours."""

    def __init__(self, url: str, rows: Callable[[Any], list[Any]]) -> None:
        self.url, self.rows = url, rows
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=load.TIMEOUT)
        )

    async def send(self, body: load.Body) -> EmbedResponse:
        headers = {"Content-Type": body.content_type}
        async with self.session.post(self.url, data=body.data, headers=headers) as response:
            answer = await response.read()
            if response.status != 200:
                raise RuntimeError(f"HTTP {response.status}")
        vectors = np.asarray(self.rows(json.loads(answer)), dtype="<f4")
        if len(vectors) != body.items:
            raise RuntimeError(f"{len(vectors)} vectors for {body.items} items")
        return EmbedResponse(dim=vectors.shape[1], vectors=vectors.tobytes())

    async def close(self) -> None:
        await self.session.close()


def one_row(answer: Any) -> list[Any]:
    """The plain handler's answer, which is a single vector."""
    return [answer]


def our_peers(server: Server, items: dict[str, list[Any]]) -> dict[str, list[Peer]]:
    """Our server, for images and for texts."""
    return {
        model: [
            Peer("ours", partial(server.sender, "http", tower), [(load.single(items[model]), CONCURRENCY)])
        ]
        for model, tower in TOWERS.items()
    }


def infinity_peer(dtype: str, url: str, model: str, items: list[Any]) -> Peer:
    """Infinity in one dtype, for images or for texts."""
    one = [infinity.body(model, [item]) for item in items]
    some = [infinity.body(model, items[i : i + MANY]) for i in range(0, len(items) - MANY + 1, MANY)]
    sender = partial(JsonSender, f"{url}/embeddings", infinity.rows)
    return Peer(f"infinity {dtype}", sender, [(one, CONCURRENCY), (some, 4)])


def start_infinity(
    up: contextlib.ExitStack, made: towers.Towers, *, quick: bool
) -> tuple[dict[str, str], str]:
    """Infinity's addresses by dtype, and why there are none."""
    if quick:
        return {}, NO_INFINITY
    try:
        infinity.install(made)
    except (subprocess.CalledProcessError, OSError) as error:
        return {}, f"it could not be installed: {error}"
    return {dtype: up.enter_context(infinity.serving(dtype)) for dtype in infinity.DTYPES}, ""


async def vectors_of(peer: Peer) -> NDArray[np.float32]:
    """The vectors of the first load's first bodies, of length 1."""
    sender = peer.sender()
    try:
        answers = [await sender.send(body) for body in peer.loads[0][0][:6]]
    finally:
        await sender.close()
    found = np.stack([np.frombuffer(answer.vectors, dtype="<f4") for answer in answers])
    unit: NDArray[np.float32] = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


def agreement(peers: dict[str, list[Peer]]) -> dict[str, float]:
    """The least cosine of each peer's vectors with ours."""
    found = {}
    for model, (ours, *others) in peers.items():
        known = asyncio.run(vectors_of(ours))
        for other in others:
            cosines = (known * asyncio.run(vectors_of(other))).sum(axis=1)
            found[f"{model}, {other.name}"] = round(float(cosines.min()), 5)
    return found


def ratios(peers: dict[str, list[Peer]]) -> dict[str, float]:
    """Our rate to each peer's, to the better dtype of Infinity in each round; medians of the rounds."""
    found = {}
    for model, (ours, *others) in peers.items():
        both = [other.rates for other in others if other.name.startswith("infinity")]
        if both:
            best = [max(rates) for rates in zip(*both, strict=True)]
            found[f"{model}s_vs_infinity"] = round(report.ratio(ours.rates, best), 3)
        for other in others:
            if other.name == "plain":
                found[f"{model}s_vs_plain_handler"] = round(report.ratio(ours.rates, other.rates), 3)
    return found


def main() -> None:
    parser = make_parser("peers", __doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--warm-up", type=float, default=3.0, help="seconds before a load counts")
    options = parse(parser, {"seconds": 0.5, "repeats": 1, "warm_up": 0.2})
    made = towers.ensure(quick=options.quick)
    items: dict[str, list[Any]] = {"image": inputs.images() * 16, "text": inputs.texts()}
    with contextlib.ExitStack() as up:
        server = up.enter_context(serving(made.store))
        peers = our_peers(server, items)
        addresses, missing = start_infinity(up, made, quick=options.quick)
        for dtype, url in addresses.items():
            for model in TOWERS:
                peers[model].append(infinity_peer(dtype, url, model, items[model]))
        plain_sender = partial(JsonSender, up.enter_context(plain.serving(made)), one_row)
        peers["image"].append(Peer("plain", plain_sender, [(load.single(items["image"]), CONCURRENCY)]))
        cosines = agreement(peers)
        for _ in range(options.repeats):
            for rivals in peers.values():
                for rival in rivals:
                    asyncio.run(rival.measure(options.seconds, options.warm_up))
    named = {f"{model}, {rival.name}": rival for model, rivals in peers.items() for rival in rivals}
    rates = {name: round(report.median(rival.rates), 2) for name, rival in named.items()}
    result: dict[str, Any] = {**ratios(peers), "rates": rates, "cosine_with_ours": cosines}
    result["left_out"] = {"infinity": missing} if missing else {}
    report.table("items per second", ("server", "items/s"), list(rates.items()))
    report.bars("peers", rates, "items per second")
    report.finish("peers", result, {"runs": {name: rival.runs for name, rival in named.items()}})


if __name__ == "__main__":
    main()
