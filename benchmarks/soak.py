"""Memory and latency over a long mixed load with poison.

    python -m benchmarks.soak [--requests 20000] [--model real] [--quick]

Images, texts, many at once, over HTTP and gRPC, a tenth of them poison, sixteen callers. The resident memory
of each worker and of TorchServe's front end is sampled every half second; growth is the median of the last
tenth of the run over the median of the tenth that follows the warm-up (the first third). By default the
committed model is served, which is quick; `--model real` takes ViT-B/32 and XLM-R base. `shapes` are those
of the passes that a worker of each tower has met (rows × tokens, or rows of images).
"""

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from babelclip.embedding_pb2 import EmbedResponse
from benchmarks.poison import EVERY, poison
from benchmarks.support import inputs, load, report, towers
from benchmarks.support.options import make_parser, parse
from benchmarks.support.server import Server, serving

CALLERS = 16


def mixture(tower: str) -> list[load.Body]:
    """Nine good requests for each of poison: single ones, and every fifth with eight items."""
    items: list[Any] = inputs.images() if tower == "vision" else inputs.texts()[:400]
    items = [items[index % len(items)] for index in range(400)]
    good = load.single(items)
    good[::5] = load.many(items * 2, 8)[: len(good[::5])]
    bad = poison(tower)
    return [bad[i // EVERY % len(bad)] if i % EVERY == 0 else good[i % len(good)] for i in range(4000)]


async def soak(
    server: Server, requests: int, sample_seconds: float
) -> tuple[list[load.Outcome], list[dict[str, Any]]]:
    """Outcomes, and samples of resident memory in MB by process with the requests done until then."""
    outcomes: list[load.Outcome] = []
    samples: list[dict[str, Any]] = []
    processes = {f"worker {one.pid}": one for one in server.workers()} | {"frontend": server.frontend()}
    share = requests // CALLERS

    def check(body: load.Body, answer: EmbedResponse) -> str:
        return load.all_embedded(body, answer)

    async def caller(number: int) -> None:
        # Each goes through all ways in turn, so that the mixture is the same from the start to the end.
        for turn in range(share):
            way = (number + turn) % len(senders)
            body = bodies[way][(number * 97 + turn // len(senders)) % len(bodies[way])]
            outcomes.append(await load.one(senders[way], body, time.monotonic(), check))

    async def sample() -> None:
        while True:
            memory = {
                name: one.memory_info().rss / 1e6 for name, one in processes.items() if one.is_running()
            }
            samples.append({"requests": len(outcomes), **memory})
            await asyncio.sleep(sample_seconds)

    senders = [
        server.sender(transport, tower) for tower in ("vision", "text") for transport in ("http", "grpc")
    ]
    bodies = [mixture(tower) for tower in ("vision", "vision", "text", "text")]
    sampler = asyncio.create_task(sample())
    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    sampler.cancel()
    for sender in senders:
        await sender.close()
    return outcomes, samples


def growth(samples: list[dict[str, Any]], name: str) -> float:
    """Resident memory at the end over that after the warm-up, less 1."""
    total = samples[-1]["requests"]

    def level(first: float, last: float) -> float:
        inside = [s[name] for s in samples if first * total <= s["requests"] <= last * total and name in s]
        return float(np.median(inside))

    return level(0.9, 1.0) / level(0.33, 0.43) - 1


def plot(samples: list[dict[str, Any]], names: list[str], path: Path) -> None:
    figure, axes = report.pyplot().subplots(figsize=(7, 3.2))
    for name in names:
        axes.plot([s["requests"] for s in samples], [s.get(name, np.nan) for s in samples], label=name)
    axes.set(xlabel="requests", ylabel="resident memory, MB", ylim=(0, None))
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = make_parser("soak", __doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--model", choices=("mini", "real"), default="mini")
    parser.add_argument("--sample-seconds", type=float, default=0.5, help="between two samples of the memory")
    options = parse(parser, {"requests": 640, "sample_seconds": 0.02})
    store = towers.ensure(quick=options.model == "mini").store
    with serving(store) as server:
        before = {one.pid for one in server.workers()}
        outcomes, samples = asyncio.run(soak(server, options.requests, options.sample_seconds))
        shapes = {tower: int(count) for tower, count in server.gauge("babelclip_shapes").items()}
        restarts = len({one.pid for one in server.workers() if psutil.pid_exists(one.pid)} - before)
    names = [name for name in samples[0] if name != "requests"]
    grown = {name: round(growth(samples, name), 4) for name in names}
    third = len(outcomes) // 3
    result = {
        "requests": len(outcomes),
        "worker_growth": max(value for name, value in grown.items() if name != "frontend"),
        "frontend_growth": grown["frontend"],
        "restarts": restarts,
        "shapes": shapes,
        "p99_first_third_ms": load.summary(outcomes[:third], warm_up=0)["p99_ms"],
        "p99_last_third_ms": load.summary(outcomes[-third:], warm_up=0)["p99_ms"],
        "errors": load.summary(outcomes, warm_up=0)["errors"],
    }
    rows = [(name, samples[len(samples) // 3][name], samples[-1][name], grown[name]) for name in names]
    report.table("resident memory", ("process", "MB after warm-up", "MB at the end", "growth"), rows)
    plot(samples, names, towers.FOLDER / "soak.png")
    report.finish("soak", result, {"growth": grown, "samples": samples, "model": options.model})


if __name__ == "__main__":
    main()
