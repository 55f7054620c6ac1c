"""Pictures of results and of training.

    python -m training.evaluation.plots recall results_*.json --output recall.png
    python -m training.evaluation.plots training runs/mini/log.jsonl --output training.png

They need matplotlib, which is in the group `dev`.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from models import outputs
from training.evaluation import results
from training.evaluation.errors import EvaluationError
from training.evaluation.results import Result

RECALLS = {
    "text → image": "image_retrieval_recall@",
    "image → text": "text_retrieval_recall@",
}
SHARES = ("image_right", "text_right", "image_retrieval_recall@1", "text_retrieval_recall@1")


def pyplot() -> Any:
    """matplotlib's pyplot, drawing into files.

    Raises:
        EvaluationError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise EvaluationError(
            "plots need matplotlib: pip install --group dev, or matplotlib alone"
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot as found

    return found


def recall_by_language(found: list[Result], path: Path, k: int = 10) -> None:
    """recall@k of both directions, one pair of bars per language with their intervals, best language first.

    Raises:
        EvaluationError: matplotlib is missing, or a result has no such metric.
    """
    plt = pyplot()
    first = f"{RECALLS['text → image']}{k}"
    for result in found:
        if first not in result.metrics:
            raise EvaluationError(f"{result.dataset}, {result.language}: the result has no {first}")
    ordered = sorted(found, key=lambda result: -result.metrics[first])
    figure, axes = plt.subplots(figsize=(max(4, 1 + 0.4 * len(ordered)), 4))
    for side, (label, prefix) in enumerate(RECALLS.items()):
        values = [result.metrics[f"{prefix}{k}"] for result in ordered]
        ends = [
            result.intervals.get(f"{prefix}{k}", (value, value))
            for result, value in zip(ordered, values, strict=True)
        ]
        below = [max(0.0, value - low) for value, (low, _) in zip(values, ends, strict=True)]
        above = [max(0.0, high - value) for value, (_, high) in zip(values, ends, strict=True)]
        places = [place + 0.4 * side - 0.2 for place in range(len(ordered))]
        axes.bar(places, values, 0.4, yerr=(below, above), label=label, error_kw={"linewidth": 0.8})
    axes.set_xticks(range(len(ordered)), [result.language for result in ordered], rotation=90)
    axes.set_ylabel(f"recall@{k}")
    axes.set_ylim(0, 1)
    axes.set_title(f"{ordered[0].dataset}, {ordered[0].model}")
    axes.legend(loc="lower right")
    save(plt, figure, path)


def training_curves(log: Path, path: Path) -> None:
    """The loss, and recall or the share of a batch that is right, by step; one line per stage of the log.

    Raises:
        EvaluationError: matplotlib is missing, or the log is none of a training's.
    """
    plt = pyplot()
    stages: dict[str, list[dict[str, Any]]] = {}
    for row in read_log(log):
        stages.setdefault(str(row.get("stage", "training")), []).append(row)
    figure, (losses, right) = plt.subplots(1, 2, figsize=(10, 4))
    for stage, rows in stages.items():
        for axes, name in ((losses, "loss"), *((right, name) for name in SHARES)):
            part = [row for row in rows if name in row]
            if part:
                label = f"{stage}: {name}"
                axes.plot([row["step"] for row in part], [row[name] for row in part], label=label)
    losses.set(xlabel="step", ylabel="loss", yscale="log")
    right.set(xlabel="step", ylabel="share that is right", ylim=(0, 1))
    for axes in (losses, right):
        if axes.lines:
            axes.legend()
    save(plt, figure, path)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log.jsonl, each with the step that it is of.

    Raises:
        EvaluationError: the file is missing, empty, or has another line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
    except OSError as error:
        raise EvaluationError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise EvaluationError(f"{path} is no log: {error}") from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or "step" not in row:
            raise EvaluationError(f"{path}, line {number}: it must have a step")
    if not rows:
        raise EvaluationError(f"{path} is empty")
    return rows


def save(plt: Any, figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("recall", "training"))
    parser.add_argument("files", nargs="+", type=Path, help="result files, or one log.jsonl")
    parser.add_argument("--output", type=Path, required=True, help="a PNG file")
    parser.add_argument("--k", type=int, default=10, help="of recall@k: 1, 5 or 10")
    options = parser.parse_args()
    if options.what == "training" and len(options.files) > 1:
        parser.error("training takes one log.jsonl")
    outputs.check("training.evaluation.plots", "--output", options.output)
    try:
        if options.what == "recall":
            recall_by_language([results.read(path) for path in options.files], options.output, options.k)
        else:
            training_curves(options.files[0], options.output)
    except EvaluationError as error:
        sys.exit(f"training.evaluation.plots: {error}")


if __name__ == "__main__":
    main()
