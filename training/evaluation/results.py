"""Result files in CLIP_benchmark's form, of which `clip_benchmark build` makes its tables; and the gate.

A file holds one result: `dataset`, `model`, `pretrained`, `task`, `metrics` and `language`. Ours also have
`intervals` (95 % of each metric), `space`, `items`, the numbers of images and texts, and `settings`, what was
chosen on the way.
"""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from training.evaluation.errors import EvaluationError
from training.evaluation.languages import canonical
from training.evaluation.metrics import Interval

REQUIRED = ("dataset", "model", "pretrained", "task", "metrics", "language")


@dataclass(frozen=True)
class Result:
    """One model, data set, task and language."""

    dataset: str
    model: str
    pretrained: str
    task: str
    metrics: dict[str, float]
    language: str
    intervals: dict[str, Interval] = field(default_factory=dict)
    space: str = ""
    items: dict[str, int] = field(default_factory=dict)
    settings: dict[str, float] = field(default_factory=dict)

    @property
    def subject(self) -> tuple[str, str, str]:
        """What two results must share to be compared: data set, task and language.

        CLIP_benchmark puts `wds/` before the name of a folder of shards.
        """
        return self.dataset.removeprefix("wds/"), self.task, canonical(self.language)


def file_of(pattern: Path, language: str, *, several: bool) -> Path:
    """Where a language's result lies: `{language}` filled in, or the code appended where there are several.

    results.json → results.json of one language, results_de.json of several.
    """
    if "{language}" in pattern.name:
        return pattern.with_name(pattern.name.replace("{language}", language))
    return pattern.with_name(f"{pattern.stem}_{language}{pattern.suffix}") if several else pattern


def write(pattern: Path, results: list[Result]) -> list[Path]:
    """One file per result, see `file_of`; the files."""
    written = []
    for result in results:
        path = file_of(pattern, result.language, several=len(results) > 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(result), indent=1, ensure_ascii=False, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")
        written.append(path)
    return written


def read(path: Path) -> Result:
    """A result, ours or CLIP_benchmark's.

    Raises:
        EvaluationError: the file is missing, or holds something else.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise EvaluationError(f"{path} is no JSON: {error}") from error
    missing = [key for key in REQUIRED if not isinstance(raw, dict) or key not in raw]
    if missing:
        raise EvaluationError(f"{path} is no result: it has no {', '.join(missing)}")
    if not isinstance(raw["metrics"], dict) or not all(map(is_number, raw["metrics"].values())):
        raise EvaluationError(f"{path}: metrics must be names and numbers")
    return Result(
        dataset=str(raw["dataset"]),
        model=str(raw["model"]),
        pretrained=str(raw["pretrained"]),
        task=str(raw["task"]),
        language=str(raw["language"]),
        # CLIP_benchmark writes NaN for the acc5 of fewer than five classes.
        metrics={name: value for name, value in raw["metrics"].items() if not math.isnan(value)},
        intervals={name: (low, high) for name, (low, high) in raw.get("intervals", {}).items()},
    )


def read_earlier(pattern: Path) -> list[Result]:
    """The results that `write` left under this name, in any language; a folder: all in it.

    Raises:
        EvaluationError: there are none, or a file is no result.
    """
    if pattern.is_dir():
        paths = sorted(pattern.glob("*.json"))
    elif pattern.is_file():
        paths = [pattern]
    else:
        paths = sorted(pattern.parent.glob(file_of(pattern, "*", several=True).name))
    if not paths:
        raise EvaluationError(f"{pattern}: there is no earlier result")
    return [read(path) for path in paths]


def drops(results: list[Result], earlier: list[Result], max_drop: float) -> list[str]:
    """A sentence for every metric that fell by more than `max_drop`, or that cannot be compared any more.

    Raises:
        EvaluationError: there is no earlier result of the same data set, task and language.
    """
    known = {result.subject: result for result in earlier}
    found = []
    for result in results:
        before = known.get(result.subject)
        name = f"{result.dataset}, {result.language}"
        if before is None:
            raise EvaluationError(f"the baseline has no {result.task} of {name}")
        for metric, was in before.metrics.items():
            now = result.metrics.get(metric)
            if now is None:
                found.append(f"{name}: {metric} was {was:.4f} and was not measured now")
            elif was - now > max_drop + 1e-9:  # A drop of as much as is allowed must pass.
                found.append(
                    f"{name}: {metric} fell from {was:.4f} to {now:.4f}, by {was - now:.4f};"
                    f" {max_drop:.4f} is allowed"
                )
    return found


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
