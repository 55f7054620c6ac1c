"""How to know that a version is served: its workers are READY, and its towers give the vectors they must.

TorchServe's /ping answers 200 while it starts, and even while its workers crash. A version counts as served
when every worker of both towers is READY and both, over every address, have given the vectors that the
manifest says they give for a known text and a known image (its canary).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from babelclip.client.sync import Client
from babelclip.errors import BabelclipError, RegistryError
from babelclip.model_store.manifest import Entry
from babelclip.versions.management import Management
from babelclip.wire import TOWERS, Tower

# So many restarts of a model's workers before they were ready are no accident.
LOAD_FAILURES = 2


def readiness_check(management: Management, version: str) -> Callable[[], bool]:
    """A question to ask again and again: whether every worker of both towers of the version is READY.

    Asking raises RegistryError when the server has no such version or its workers end again and again while
    they load, and another BabelclipError when the server could not be asked.
    """
    pids: dict[Tower, set[int]] = {tower: set() for tower in TOWERS}

    def ready(tower: Tower) -> bool:
        model = management.describe(tower, version)
        if model is None:
            raise RegistryError(f"the server does not have {tower} {version}")
        # TorchServe starts a failed worker again for minutes; another process id shows that it did.
        pids[tower] |= {worker.pid for worker in model.workers if worker.pid > 0}
        if not model.ready and len(pids[tower]) >= model.min_workers + LOAD_FAILURES:
            raise RegistryError(f"{tower} {version} cannot be loaded; the server's log says why")
        return model.ready

    def both_ready() -> bool:
        # Both are asked each time: one that fails must not hide behind one that still loads.
        answers = [ready(tower) for tower in TOWERS]
        return all(answers)

    return both_ready


@dataclass(frozen=True)
class ProbeResult:
    """What came of one canary: `problem` is empty when the tower gave the vector that it must."""

    tower: Tower
    url: str
    problem: str


def probe(entry: Entry, urls: Sequence[str], token_file: str | os.PathLike[str]) -> Iterator[ProbeResult]:
    """Has both towers of the version embed their canaries by every address, and compares."""
    for url in urls:
        with Client(url, token_file=Path(token_file), version=entry.version, space=entry.space) as client:
            for tower in TOWERS:
                yield ProbeResult(tower, url, _problem(entry, tower, client))


def prove(entry: Entry, urls: Sequence[str], token_file: str | os.PathLike[str]) -> None:
    """The same, up to the first problem.

    Raises:
        RegistryError: a tower gave no vector, one of another space, or another one than it must.
    """
    for result in probe(entry, urls, token_file):
        if result.problem:
            raise RegistryError(
                f"{entry.name} {entry.version}: the {result.tower} tower at {result.url} {result.problem}"
            )


def _problem(entry: Entry, tower: Tower, client: Client) -> str:
    known = entry.towers[tower]
    try:
        if isinstance(known.canary, str):
            answer = client.embed_texts([known.canary])
        else:
            answer = client.embed_images([known.canary])
    except BabelclipError as problem:
        return f"failed: {problem}"
    vector = answer.vectors[0]
    if vector.shape != known.vector.shape:
        return f"gives {len(vector)} values, and {len(known.vector)} when it was exported"
    lengths = float(np.linalg.norm(vector) * np.linalg.norm(known.vector))
    cosine = float(vector @ known.vector) / lengths if lengths else 0.0
    if not cosine >= entry.min_cosine:
        return (
            f"gives another vector than when it was exported: cosine {cosine:.4f}, at least"
            f" {entry.min_cosine} is needed"
        )
    return ""
