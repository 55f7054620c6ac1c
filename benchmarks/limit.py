"""This machine's limit for a tower, without a server.

    python -m benchmarks.limit [--tower text] [--runtimes] [--repeats 3] [--quick]

    gemm       matmuls of the tower's own shapes, in the dtype that it is served in
    model      the tower's program alone, on pixels or tokens that lie in memory
    decode     JPEGs to pixels, or texts to tokens, alone, on all cores
    pipeline   both in one process: the most that a server could reach
    single     one item after the other: the least that a server's latency could be

All are measured in turns and the medians shown. `--runtimes` compares the runtimes that can run here.
"""

import time
from collections.abc import Callable

import torch

from benchmarks.support import report, towers
from benchmarks.support.inprocess import InProcess
from benchmarks.support.options import make_parser, parse
from handlers.batching import Group
from models.modules import ModelConfig

BATCH = 32  # rows of one pass, the handler's own largest
PASSES = {"vision": 4, "text": 8}  # batches in one measurement
RATES = ("model_per_s", "decode_per_s", "pipeline_per_s")
RUNTIMES = ("torch", "onnxruntime", "openvino")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def gemm_flops(process: InProcess, config: ModelConfig, tower: str) -> float:
    """Floating-point operations a second of the tower's three kinds of matmuls; the best of them."""
    vision = config.vision
    patch = vision.patch or 2 ** (len(vision.stem) + 1)  # each layer of a stem halves, and so does the last
    tokens = (vision.size // patch) ** 2 + 1 if tower == "vision" else towers.TEXT_TOKENS
    rows, width = BATCH * tokens, (vision if tower == "vision" else config.text).width
    placement = process.handler.runner.placement
    dtype = getattr(torch, placement.dtype)
    rates = []
    for inner, outer in ((1, 4), (4, 1), (1, 1)):
        left = torch.randn(rows, inner * width, dtype=dtype, device=placement.device)
        right = torch.randn(inner * width, outer * width, dtype=dtype, device=placement.device)

        def multiply(left: torch.Tensor = left, right: torch.Tensor = right) -> None:
            for _ in range(8):
                product = left @ right
            product[0, 0].item()  # waits for a GPU

        multiply()
        taken = min(seconds(multiply) for _ in range(4)) / 8
        rates.append(2 * rows * inner * outer * width**2 / taken)
    return max(rates)


def model_rate(process: InProcess, groups: list[Group]) -> float:
    """Items a second through the program alone."""

    def run() -> None:
        for group in groups:
            process.handler.runner(*group.arrays)

    return sum(len(group.positions) for group in groups) / seconds(run)


def measure(process: InProcess, made: towers.Towers, tower: str, repeats: int) -> dict[str, list[float]]:
    """Each figure `repeats` times, in turns."""
    flops, count = made.flops[tower], BATCH * PASSES[tower]
    groups = process.decode(count)
    # Texts have different lengths, and padding is computed too.
    unit = towers.TEXT_TOKENS if tower == "text" else 1
    work = flops * sum(group.slots for group in groups) / unit / count
    process.pipeline(count)
    found: dict[str, list[float]] = {name: [] for name in ("gemm_flops", "gemm_per_s", *RATES, "single_ms")}
    torch.set_num_threads(process.handler.threads)
    for _ in range(repeats):
        found["gemm_flops"].append(gemm_flops(process, made.config, tower))
        found["gemm_per_s"].append(found["gemm_flops"][-1] / work)
        found["model_per_s"].append(model_rate(process, groups))
        found["decode_per_s"].append(count / seconds(lambda: process.decode(count)))
        found["pipeline_per_s"].append(count / seconds(lambda: process.pipeline(count)))
        found["single_ms"].append(1e3 * min(seconds(lambda: process.pipeline(1)) for _ in range(5)))
    return found


def compare_runtimes(made: towers.Towers, tower: str, repeats: int) -> dict[str, float]:
    """Items a second of every runtime that runs here."""
    rates: dict[str, float] = {}
    for runtime in RUNTIMES:
        try:
            process = InProcess(made.archive(tower), tower, runtime=runtime)
        except (RuntimeError, ValueError) as error:
            print(f"{runtime}: {error}")
            continue
        groups = process.decode(BATCH * 2)
        rates[runtime] = report.median([model_rate(process, groups) for _ in range(max(3, repeats))])
    return rates


def main() -> None:
    parser = make_parser("limit", __doc__)
    parser.add_argument("--tower", choices=("vision", "text"), default="vision")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--runtimes", action="store_true", help="also compare the runtimes")
    options = parse(parser, {"repeats": 1})
    made = towers.ensure(quick=options.quick)
    process = InProcess(made.archive(options.tower), options.tower)
    found = measure(process, made, options.tower, options.repeats)
    placement = process.handler.runner.placement
    result = {
        "tower": options.tower,
        "runtime": placement.runtime,
        "dtype": placement.dtype,
        "gemm_tflops": round(report.median(found["gemm_flops"]) / 1e12, 4),
        "gemm_per_s": round(report.median(found["gemm_per_s"]), 2),
        "model_per_s": round(report.median(found["model_per_s"]), 2),
        "decode_per_s": round(report.median(found["decode_per_s"]), 1),
        "pipeline_per_s": round(report.median(found["pipeline_per_s"]), 2),
        "single_ms": round(report.median(found["single_ms"]), 2),
        "model_of_gemm": round(report.ratio(found["model_per_s"], found["gemm_per_s"]), 3),
        "pipeline_of_model": round(report.ratio(found["pipeline_per_s"], found["model_per_s"]), 3),
    }
    if options.runtimes:
        result["runtimes"] = compare_runtimes(made, options.tower, options.repeats)
    report.table(f"limit of the {options.tower} tower", ("figure", "value"), list(result.items()))
    shown = {name: result[f"{name}_per_s"] for name in ("gemm", "model", "pipeline", "decode")}
    unit = "images a second" if options.tower == "vision" else "texts a second"
    report.bars(f"limit-{options.tower}", shown, unit)
    report.finish(f"limit-{options.tower}", result, {"measured": found, "flops": made.flops[options.tower]})


if __name__ == "__main__":
    main()
