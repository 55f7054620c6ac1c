"""What every benchmark leaves: a table on the screen, JSON in .run/benchmarks, a last line `result:`."""

import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.support import towers
from handlers.runtime.device import has_native_bfloat16
from handlers.runtime.machine import usable_cores


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text(encoding="utf-8").splitlines() if "model name" in line]
        model = lines[0].partition(":")[2].strip() if lines else model
    return {
        "cpu": model,
        "cores": usable_cores(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "multiplies_bfloat16": has_native_bfloat16("cpu"),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
    }


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; numbers are rounded to three digits."""
    shown = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        shown.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        shown.add_row(*(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=120).print(shown)


def finish(name: str, result: dict[str, Any], details: dict[str, Any]) -> None:
    """Write NAME.json and print the last line."""
    document = {"machine": machine(), "result": result, **details}
    towers.FOLDER.mkdir(parents=True, exist_ok=True)
    path = towers.FOLDER / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"{name}: details in {path}")
    print("result: " + json.dumps(result), flush=True)


def pyplot() -> Any:
    """matplotlib's pyplot, drawing into files; imported with the first plot, because it takes long."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as found

    return found


def bars(name: str, values: Mapping[str, float], unit: str) -> None:
    """Write NAME.png, one bar for each value on a logarithmic scale."""
    figure, axes = pyplot().subplots(figsize=(7, 0.8 + 0.4 * len(values)))
    drawn = axes.barh(list(values), list(values.values()))
    axes.bar_label(drawn, fmt=" %.3g")
    axes.set_xscale("log")
    axes.set_xlabel(unit)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    figure.tight_layout()
    figure.savefig(towers.FOLDER / f"{name}.png", dpi=120)


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def ratio(values: Sequence[float], limits: Sequence[float]) -> float:
    """Median of the ratios of pairs that were measured one after the other, so that drift cancels."""
    return median([value / limit for value, limit in zip(values, limits, strict=True)])
