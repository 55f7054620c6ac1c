"""The benchmark of the index in its quick form: that it finds what is due. No figure is judged."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.needs import needs

pytest.importorskip("faiss", reason="FAISS is not installed")

from benchmarks.support import towers
from tests.benchmarks.commands import command_module

needs("lancedb", reason="LanceDB is not installed")

pytestmark = pytest.mark.slow  # starts processes


@pytest.mark.parametrize(
    ("engine", "method"), [("lancedb", "ivf_rq"), pytest.param("milvus", "ivf_flat", marks=pytest.mark.slow)]
)
def test_it_fills_builds_and_searches(
    engine: str,
    method: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Rows are found through a structure, with a filter, by several callers and beside FAISS."""
    words = ["index", "--quick", "--engine", engine]
    if engine == "milvus":
        words += ["--address", f"{request.getfixturevalue('milvus_address')}/benchmark"]
    monkeypatch.setattr(towers, "FOLDER", tmp_path)
    monkeypatch.setattr(sys, "argv", words)
    command_module("index").main()
    result = json.loads(capsys.readouterr().out.strip().splitlines()[-1].removeprefix("result: "))
    details = json.loads((tmp_path / "index.json").read_text(encoding="utf-8"))
    assert details["served"]["method"] == method
    assert result["recall_at_10"] > 0.9
    assert result["filter_recall_at_10"] > 0.9
    assert details["beside"]["FAISS IVF"]["recall_at_10"] > 0.9
    for name in (
        "rows",
        "p50_ms",
        "p99_ms",
        "ingest_per_s",
        "build_s",
        "memory_mb",
        "searches_per_s",
        "reopen_s",
    ):
        assert result[name] > 0
