"""The benchmarks of Ray Serve in their quick form: that they find what is due. No figure is judged."""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.support import towers
from tests.benchmarks.commands import command_module
from tests.needs import needs

needs("ray", "fastapi", reason="Ray Serve is not installed: scripts/setup ray")


Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def folder(store: Path, new_store: Path) -> Iterator[Path]:
    """What benchmarks keep lies in a folder of the tests', and both models are exported already."""
    with tempfile.TemporaryDirectory(prefix="bench") as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("BABELCLIP_DTYPE", "float32")
        patch.setattr(towers, "FOLDER", Path(made))
        patch.setattr(towers, "mini_store", lambda: store)
        patch.setattr(towers, "other_store", lambda: new_store)
        yield Path(made)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a benchmark's command; return what stands in its last line."""

    def benchmark(name: str, *arguments: str) -> dict[str, Any]:
        module = command_module(name)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        module.main()
        result: dict[str, Any] = json.loads(
            capsys.readouterr().out.strip().splitlines()[-1].removeprefix("result: ")
        )
        return result

    return benchmark


def test_both_engines_are_compared(run: Run) -> None:
    """The same requests to both, rates and latencies of each, and what each takes of the machine."""
    result = run("engines", "--quick")
    assert result["ray_of_torchserve"] > 0
    assert set(result) == {
        "ray_of_torchserve",
        "text_ray_of_torchserve",
        "added_p50_ms",
        "text_added_p50_ms",
        "added_memory_mb",
        "added_start_s",
    }


def test_versions_change_on_ray_serve(run: Run) -> None:
    """Promotions and rollbacks under load: no request fails, and no answer is of two spaces."""
    result = run("rollout", "--engine", "ray", "--quick")
    assert result["requests"] > 0
    assert (result["switches"], result["failed_requests"], result["mixed_space"]) == (2, 0, 0)
