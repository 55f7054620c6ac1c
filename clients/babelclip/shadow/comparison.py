"""What a candidate version gave beside the serving one, and whether it may be promoted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from babelclip.embeddings import Vectors
from babelclip.wire import TOWERS, Tower

# Whose neighbours are compared, among what.
DIRECTIONS: tuple[tuple[Tower, Tower], ...] = (("text", "vision"), ("vision", "vision"), ("text", "text"))
NAMES = {"text": "text", "vision": "image"}


@dataclass(frozen=True)
class Limits:
    """When a candidate may be promoted.

    Attributes:
        items: the fewest items of each tower that a judgement takes.
        cosine: the least that 99 % of items must have with their serving vector, in one space.
        overlap: the least share of common neighbours, in two spaces.
        neighbours: k, of how many nearest items the overlap is.
        errors: the largest share of items that only the candidate fails.
        latency: the largest ratio of the median seconds of a request.
    """

    items: int = 50
    cosine: float = 0.99
    overlap: float = 0.5
    neighbours: int = 10
    errors: float = 0.0
    latency: float = 1.5


@dataclass(frozen=True)
class Report:
    """What was seen, and whether to promote.

    Attributes:
        promote: no limit is broken, and enough was seen.
        reasons: the limits that are broken, one sentence each.
        items: compared, by tower.
        same_space: whether candidate and serving version are of one space; None before both have answered.
        cosine: by tower, the cosine that 99 % of items exceed; in one space.
        overlap: by direction, such as "text → image", the mean share of common neighbours.
        failed: by code, items that only the candidate failed.
        latency: by tower, the candidate's median seconds of a request over those of the serving version.
        dropped: requests that were not copied, because the thread could not keep up.
    """

    promote: bool
    reasons: tuple[str, ...]
    items: dict[str, int]
    same_space: bool | None
    cosine: dict[str, float]
    overlap: dict[str, float]
    failed: dict[str, int]
    latency: dict[str, float]
    dropped: int

    def as_json(self) -> dict[str, Any]:
        """The same, by name."""
        return asdict(self)

    def __str__(self) -> str:
        return "promote: yes" if self.promote else f"promote: no: {'; '.join(self.reasons)}"


@dataclass(frozen=True)
class Seen:
    """What was observed: (serving, candidate) by tower, of vectors of items and of seconds of requests.

    Attributes:
        spaces: of both; None before both have answered.
        failed: items that only the candidate failed, by code.
        compared: items that the serving version embedded.
        dropped: requests that were not copied.
    """

    rows: Mapping[Tower, Sequence[tuple[Vectors, Vectors]]]
    seconds: Mapping[Tower, Sequence[tuple[float, float]]]
    spaces: tuple[str, str] | None
    failed: dict[str, int]
    compared: int
    dropped: int


def judge(seen: Seen, limits: Limits) -> Report:
    """Observations → the report."""
    served = {tower: np.stack([row for row, _ in kept]) for tower, kept in seen.rows.items()}
    shadowed = {tower: np.stack([row for _, row in kept]) for tower, kept in seen.rows.items()}
    same = None if seen.spaces is None else seen.spaces[0] == seen.spaces[1]
    cosine = {}
    if same:
        cosine = {NAMES[t]: float(np.quantile((served[t] * shadowed[t]).sum(1), 0.01)) for t in served}
    unjudged = Report(
        promote=False,
        reasons=(),
        items={NAMES[tower]: len(seen.rows.get(tower, ())) for tower in TOWERS},
        same_space=same,
        cosine=cosine,
        overlap=overlaps(served, shadowed, limits.neighbours),
        failed=seen.failed,
        latency={
            NAMES[tower]: float(np.median([new for _, new in kept]) / np.median([old for old, _ in kept]))
            for tower, kept in seen.seconds.items()
        },
        dropped=seen.dropped,
    )
    reasons = tuple(_reasons(unjudged, limits, seen.compared))
    return replace(unjudged, promote=not reasons, reasons=reasons)


def _reasons(report: Report, limits: Limits, compared: int) -> Iterator[str]:
    for name, count in report.items.items():
        if count < limits.items:
            yield f"{count} {name}s were compared, {limits.items} are needed"
    failures = sum(report.failed.values())
    if failures > limits.errors * compared:
        worst = max(report.failed, key=lambda code: report.failed[code])
        yield f"the candidate alone fails {failures} of {compared} items, most with {worst}"
    for name, value in report.cosine.items():
        if value < limits.cosine:
            yield (
                f"1 % of the {name} vectors have a cosine of at most {value:.4f} with the serving ones,"
                f" and {limits.cosine} is needed"
            )
    for way, value in report.overlap.items():
        if report.same_space is False and value < limits.overlap:
            yield f"{way} neighbours overlap by {value:.2f}, and {limits.overlap} is needed"
    for name, value in report.latency.items():
        if value > limits.latency:
            yield (
                f"an answer of the {name} tower takes {value:.2f} times as long,"
                f" and {limits.latency} is allowed"
            )


def overlaps(
    served: dict[Tower, Vectors], shadowed: dict[Tower, Vectors], neighbours: int
) -> dict[str, float]:
    """By direction, the mean share of the k nearest items that both versions name."""
    found = {}
    for asking, answering in DIRECTIONS:
        if asking not in served or len(served.get(answering, ())) <= neighbours:
            continue
        near = [
            _nearest(side[asking], side[answering], neighbours, other_than_itself=asking == answering)
            for side in (served, shadowed)
        ]
        common = [len(set(a) & set(b)) / neighbours for a, b in zip(*near, strict=True)]
        found[f"{NAMES[asking]} → {NAMES[answering]}"] = float(np.mean(common))
    return found


def _nearest(
    rows: Vectors, among: Vectors, count: int, *, other_than_itself: bool
) -> Sequence[NDArray[np.intp]]:
    cosines = rows @ among.T
    if other_than_itself:
        np.fill_diagonal(cosines, -np.inf)
    nearest: NDArray[np.intp] = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
    return list(nearest)
