"""What a text tower costs beside its speed: time until it serves, memory, size of the archive.

    python -m benchmarks.footprint [--model metaclip-2] [--variants bfloat16 …] [--cold] [--quick]
    python -m benchmarks.footprint --source training/recipes/photos/checkpoint --variants int8-lean

The tower is XLM-R base in its true shape, with 250,002 tokens, or that of the smallest Meta CLIP 2 worldwide,
with 901,629, or that of any checkpoint. Each variant is exported, started by scripts/serve, and embeds 2,000
texts in 20 languages at concurrency 16, and then full batches of the longest texts, which need the most
memory that any can. Resident memory is the worker's, mapped files included. With --cold the kernel's cache of
files is dropped before each start, which needs root.
"""

import asyncio
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.support import inputs, load, metaclip2, report, towers
from benchmarks.support.options import make_parser, parse
from benchmarks.support.server import Server, serving
from export.options import Options
from export.pipeline import export

# fmt: off
LANGUAGES = ["en", "zh", "hi", "es", "fr", "ar", "bn", "pt", "ru", "ur",
             "id", "de", "ja", "tr", "vi", "ko", "it", "fa", "pl", "th"]
# fmt: on
BFLOAT16 = Options(dtype="bfloat16", forms=("onnx",))
TRIMMED = replace(BFLOAT16, languages=tuple(LANGUAGES), trim_vocab=True)
VARIANTS = {
    "float32": Options(forms=("onnx",)),
    "bfloat16": BFLOAT16,
    "bfloat16-lean": replace(BFLOAT16, low_memory=True),
    "bfloat16-trimmed": TRIMMED,
    "bfloat16-trimmed-lean": replace(TRIMMED, low_memory=True),
    "int8": replace(BFLOAT16, dtype="int8"),
    "int8-lean": replace(BFLOAT16, dtype="int8", low_memory=True),
    "int8-trimmed-lean": replace(TRIMMED, dtype="int8", low_memory=True),
}
MODELS = ("xlm-r-base", "metaclip-2")
CONCURRENCY = 16
LONGEST = 64  # texts at once, of more tokens than the tower takes


async def embed(server: Server) -> dict[str, float]:
    """Milliseconds of one text alone, texts per second, and the worker's memory in MB after each load."""
    worker = server.worker("text")
    after = {"start": worker.memory_info().rss / 1e6}
    sender = server.sender("grpc", "text")
    texts = inputs.texts(LANGUAGES)
    alone = []
    for text in texts[:40]:
        began = time.perf_counter()
        await sender.send(load.single([text])[0])
        alone.append(time.perf_counter() - began)
    bodies = load.single(texts)
    began = time.perf_counter()
    waiting = iter(bodies)

    async def caller() -> None:
        for body in waiting:
            await sender.send(body)

    await asyncio.gather(*(caller() for _ in range(CONCURRENCY)))
    rate = len(bodies) / (time.perf_counter() - began)
    after["texts"] = worker.memory_info().rss / 1e6
    longest = load.many([f"{text} " * 40 for text in texts[:LONGEST]], LONGEST)
    for _ in range(2):
        await sender.send(longest[0])
    after["longest"] = worker.memory_info().rss / 1e6
    await sender.close()
    return {
        "alone_ms": round(1e3 * report.median(alone), 1),
        "texts_per_s": round(rate, 1),
        **{f"resident_mb_after_{name}": round(size) for name, size in after.items()},
    }


def measure(made: Path, name: str, *, cold: bool) -> dict[str, Any]:
    """One variant, from the checkpoint to the worker's memory."""
    store = towers.FOLDER / f"footprint-{name}"
    shutil.rmtree(store, ignore_errors=True)
    result = export(made, store, VARIANTS[name])
    size = sum(Path(mar).stat().st_size for mar in result["mars"] if mar.endswith("-text.mar"))
    if cold:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
    began = time.monotonic()
    with serving(store) as server:
        found = {"ready_s": round(time.monotonic() - began, 1), "archive_mb": round(size / 1e6)}
        found |= asyncio.run(embed(server))
    shutil.rmtree(store)
    return found


def source(model: str) -> Path:
    """The model with random weights, made where it is missing."""
    if model == "xlm-r-base":
        return towers.ensure_checkpoint()
    folder = towers.FOLDER / model
    if not (folder / "tokenizer.json").exists():  # which is written after the weights
        torch.manual_seed(0)
        metaclip2.make(true=True).save(folder)
    return folder


def main() -> None:
    parser = make_parser("footprint", __doc__)
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    parser.add_argument("--source", type=Path, help="a checkpoint to measure, whatever export takes")
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS))
    parser.add_argument(
        "--cold", action="store_true", help="drop the kernel's cache of files before each start"
    )
    options = parse(parser, {"variants": ["bfloat16-trimmed-lean"]})
    made = towers.MINI if options.quick else options.source or source(options.model)
    name_of_model = str(options.source or options.model)
    found = {}
    for name in options.variants:
        found[name] = measure(made, name, cold=options.cold)
        print(f"{name}: {found[name]}", flush=True)
    columns = ["variant", "ready s", "archive MB", "alone ms", "texts/s", "MB at start", "of texts", "most"]
    rows = [[name, *one.values()] for name, one in found.items()]
    report.table(f"{name_of_model}, text tower", columns, rows)
    report.finish("footprint", found, {"cold": options.cold, "languages": LANGUAGES, "model": name_of_model})


if __name__ == "__main__":
    main()
