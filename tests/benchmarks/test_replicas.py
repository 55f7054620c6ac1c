"""The benchmarks of several replicas in their quick form: towers that sleep, behind a real HAProxy."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.support import haproxy, towers
from tests.benchmarks.commands import command_module

pytestmark = pytest.mark.slow

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a benchmark's command; return what stands in its last line."""
    if haproxy.find() is None:
        pytest.skip("there is no haproxy: scripts/tools gets it")
    monkeypatch.setattr(towers, "FOLDER", tmp_path)

    def benchmark(name: str, *arguments: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        command_module(name).main()
        last = capsys.readouterr().out.strip().splitlines()[-1]
        result: dict[str, Any] = json.loads(last.removeprefix("result: "))
        return result

    return benchmark


def test_replicas(run: Run, tmp_path: Path) -> None:
    """Promotions, a kill, a hang, wrong vectors and a rolling restart cost no caller anything."""
    result = run("replicas", "--quick")
    failed = json.loads((tmp_path / "replicas.json").read_text())["failed"]
    assert failed == []
    found = {key: result[key] for key in ("replicas", "switches", "failed_requests", "mixed_space", "lost")}
    assert found == {"replicas": 3, "switches": 2, "failed_requests": 0, "mixed_space": 0, "lost": 0}
    assert (result["killed"], result["restarted"]) == (1, 3)
    assert set(result["found_out_s"]) == {"killed", "hung", "wrong vectors"}
    assert result["p99_ratio"] > 0


def test_scaling(run: Run) -> None:
    """One replica and three serve the same callers, and the autoscaler asks for pods by what was recorded."""
    result = run("scaling", "--quick")
    assert result["throughput_ratio"] > 0
    assert result["pods_asked"] >= 1
    assert result["asked_after_s"] <= 600
