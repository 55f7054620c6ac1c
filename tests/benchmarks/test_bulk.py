"""The benchmark of bulk embedding, in a tiny form."""

import importlib.util
import json
import sys

import pytest

from benchmarks import bulk
from tests.shared import mini_store

pytestmark = pytest.mark.slow  # exports, starts processes and kills


def test_the_command_measures_what_the_guide_tells(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was killed and gone on with equals what was not, to the byte; the peer's vectors are the same."""
    store = str(mini_store(tmp_path_factory))
    monkeypatch.setattr(sys, "argv", ["bulk", "--quick", "--store", store])
    bulk.main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1].removeprefix("result: "))
    assert result["images"] == 400
    assert result["equal"]
    assert result["resumed_share"] <= 0.5
    if importlib.util.find_spec("webdataset") is not None:
        assert result["of_peer"] > 0
        assert result["peer_cosine"] > 0.98
    for name in ("images_per_s", "of_single_process", "of_plain_loop", "cost_growth", "peak_memory_mb"):
        assert result[name] > 0
