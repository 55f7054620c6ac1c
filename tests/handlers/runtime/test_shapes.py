"""The shapes of passes that reach a program: exact where that is free, few where memory grows with each."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handlers.clip_text import TextHandler
from handlers.runtime import runner, runtimes
from tests.handlers.conftest import WORDS
from tests.handlers.worker import Worker, http


@pytest.fixture
def met(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows and length of each pass that reaches a program."""
    shapes: list[tuple[int, int]] = []
    load = runtimes.load

    def watched(*arguments: Any, **options: Any) -> Any:
        run = load(*arguments, **options)

        def noted(*arrays: np.ndarray) -> np.ndarray:
            shapes.append(arrays[0].shape)
            return run(*arrays)

        return noted

    monkeypatch.setattr(runtimes, "load", watched)
    return shapes


def test_texts_are_padded_to_the_longest_of_their_pass(
    text_folder: Path, met: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no further, in the runtime that keeps nothing of a shape."""
    worker = Worker(TextHandler, text_folder, {"runtime": "onnxruntime"})
    monkeypatch.setattr(worker.handler, "pass_cost", 0.0)
    met.clear()
    worker.send(http(b"a red heart", "text/plain"), http(b"ein rotes Herz a star", "text/plain"))
    assert sorted(met) == [(1, 5), (1, 7)]


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_a_runtime_that_keeps_shapes_meets_few(
    text_folder: Path, met: list[tuple[int, int]], runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked, only shapes of the grid occur, all of them met before the worker was ready.

    So memory that a runtime keeps for each shape has a bound, and requests do not make a worker grow.
    """
    monkeypatch.setattr(runner, "_WARM_UP_SECONDS", math.inf)  # A busy machine is no failure.
    worker = Worker(TextHandler, text_folder, {"runtime": runtime, "max_batch": 8})
    monkeypatch.setattr(worker.handler, "pass_cost", 0.0)
    grid = {(rows, length) for rows in (1, 2, 3, 4, 6, 8) for length in (4, 6, 8, 10, 12)}
    assert set(met) == grid
    met.clear()
    rng = random.Random(0)
    for _ in range(30):
        texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 14))) for _ in range(rng.randint(1, 16))]
        (answer,) = worker.send(http(json.dumps({"inputs": texts}).encode(), "application/json"))
        assert json.loads(answer.body)["errors"] == []
    assert met
    assert set(met) <= grid


def test_padded_rows_change_no_vector(text_folder: Path) -> None:
    """Texts have the vectors that they have alone, whatever rows and lengths their pass is padded to."""
    texts = ["a", "a red heart", "ein rotes Herz a star", "blue star", "red"]
    exact = Worker(TextHandler, text_folder, {"runtime": "onnxruntime"})
    padded = Worker(TextHandler, text_folder, {"runtime": "openvino", "dtype": "float32"})
    body = json.dumps({"inputs": texts}).encode()
    rows = [json.loads(w.send(http(body, "application/json"))[0].body)["embeddings"] for w in (exact, padded)]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)
