"""Benchmarks on a real server in a tiny form: that they run, and find what is due. No figure is judged."""

import importlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run a benchmark on the committed model, in float32; return what stands in its last line.

    In bfloat16 a vector differs by a rounding from one batch to the next.
    """
    monkeypatch.setenv("BABELCLIP_DTYPE", "float32")
    # Short, because of the sockets in it.
    with tempfile.TemporaryDirectory(prefix="bench") as folder:

        def benchmark(name: str, *arguments: str, **settings: Any) -> dict[str, Any]:
            module = importlib.import_module(f"benchmarks.{name}")
            for used in ("towers", "report", "server", name):
                place = importlib.import_module(f"benchmarks.{used}")
                monkeypatch.setattr(place, "FOLDER", Path(folder), raising=False)
            monkeypatch.setattr(module, "mini_store", lambda: store, raising=False)
            for setting, value in settings.items():
                monkeypatch.setattr(module, setting, value)
            monkeypatch.setattr(sys, "argv", [name, *arguments])
            module.main()
            last = capsys.readouterr().out.strip().splitlines()[-1]
            result: dict[str, Any] = json.loads(last.removeprefix("result: "))
            return result

        yield benchmark


def test_soak(run: Run) -> None:
    """A mixed load with poison loses no worker, and memory and shapes are told of every process."""
    result = run("soak", "--requests", "640", SAMPLE_SECONDS=0.02)
    assert (result["requests"], result["restarts"]) == (640, 0)
    assert "image_undecodable" in result["errors"]  # of the poison
    assert set(result["shapes"]) == {"text", "vision"}
    assert all(count > 0 for count in result["shapes"].values())
    assert {"worker_growth", "frontend_growth"} <= set(result)


def test_restart(run: Run) -> None:
    """A server that is killed in the middle of a call loses no item and answers the same after its start."""
    result = run("restart", "--items", "120")
    assert result == {"items": 240, "lost": 0, "wrong": 0}


def test_compare(run: Run, store: Path) -> None:
    """Two stores are served at once; one and the same has the same vectors twice."""
    quick = ("--pairs", "2", "--seconds", "1", "--concurrency", "4")
    result = run("compare", str(store), str(store), *quick)
    assert len(result["ratios"]) == 2
    assert result["least_cosine"] > 0.999
