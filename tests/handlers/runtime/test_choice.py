"""Which runtime serves where several could: decided once, kept, and the same in every worker."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handlers.clip_text import TextHandler
from handlers.runtime import choice, device, runtimes
from handlers.runtime.device import Placement
from tests.handlers.conftest import LIMITS
from tests.handlers.worker import Worker, grpc, http

CANDIDATES = [
    Placement("cpu", "cpu", "bfloat16", autocast=False, compiler="none", runtime=name)
    for name in ("openvino", "torch")
]
TRIAL = (np.ones((2, 4), dtype=np.int64), np.ones((2, 4), dtype=np.int64))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where answers are kept."""
    monkeypatch.setenv("BABELCLIP_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Runtime → rows a second that a trial finds; what is not in it cannot run. Empty: real trials."""
    rates: dict[str, float] = {}
    real = choice._rates

    def measured(*arguments: Any) -> dict[str, float]:
        return dict(rates) if rates else real(*arguments)

    monkeypatch.setattr(choice, "_rates", measured)
    return rates


def settle(folder: Path) -> str:
    programs = {form: folder / f"program.{form}" for form in ("pt2", "onnx")}
    return choice.settle(CANDIDATES, programs, TRIAL, folder=folder, threads=1).runtime


def kept(state: Path) -> Path:
    (found,) = state.glob("runtime-*.json")
    return found


def test_what_was_decided_first_stays(text_folder: Path, state: Path, speeds: dict[str, float]) -> None:
    """A later start follows the first answer though another runtime would win now; the file says why."""
    speeds |= {"openvino": 100.0, "torch": 200.04}
    assert settle(text_folder) == "torch"
    record = json.loads(kept(state).read_text())
    assert record["runtime"] == "torch"
    assert record["rows_per_second"] == {"openvino": 100.0, "torch": 200.0}
    speeds |= {"openvino": 900.0}
    assert settle(text_folder) == "torch"
    kept(state).unlink()
    assert settle(text_folder) == "openvino"


@pytest.mark.parametrize(
    ("rates", "winner"),
    [
        ({"openvino": 100, "torch": 120}, "openvino"),
        ({"openvino": 100, "torch": 130}, "torch"),
        ({"torch": 1}, "torch"),
    ],
    ids=["noise", "clearly faster", "the other cannot run"],
)
def test_noise_does_not_decide(
    text_folder: Path, state: Path, speeds: dict[str, float], rates: dict[str, float], winner: str
) -> None:
    """The preferred runtime stays unless another is clearly faster, so that replicas agree."""
    speeds |= rates
    assert settle(text_folder) == winner


def test_another_archive_or_cpu_is_measured_anew(
    text_folder: Path,
    vision_folder: Path,
    state: Path,
    speeds: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer holds for its archive on its kind of CPU, and for no other."""
    speeds |= {"openvino": 1.0, "torch": 9.0}
    assert settle(text_folder) == "torch"
    speeds |= {"openvino": 9.0, "torch": 1.0}
    assert settle(vision_folder) == "openvino"
    monkeypatch.setattr(choice, "cpu_kind", lambda: "another")
    assert settle(text_folder) == "openvino"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"runtime": "abacus"}', "\xff"])
def test_a_file_that_cannot_be_followed_is_written_anew(
    text_folder: Path, state: Path, speeds: dict[str, float], text: str
) -> None:
    """Half a file, or one that names a runtime that is gone, stops no worker."""
    speeds |= {"openvino": 1.0, "torch": 9.0}
    settle(text_folder)
    kept(state).write_bytes(text.encode("latin-1"))
    assert settle(text_folder) == "torch"
    assert json.loads(kept(state).read_text())["runtime"] == "torch"


def test_where_nothing_can_be_kept_the_workers_of_a_server_still_agree(
    text_folder: Path, tmp_path: Path, speeds: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a folder that can be written the answer is in the unpacked archive, which workers share."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("BABELCLIP_STATE_DIR", str(blocked / "state"))
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in ("meta.json", "program.onnx", "program.pt2"):
        os.link(text_folder / name, archive / name)
    speeds |= {"openvino": 1.0, "torch": 9.0}
    assert settle(archive) == "torch"
    speeds |= {"openvino": 9.0}
    assert settle(archive) == "torch"


def test_without_a_folder_named_the_answer_is_in_the_users_cache(
    text_folder: Path, tmp_path: Path, speeds: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It outlives the server and its run folder; a home of one's own or XDG_CACHE_HOME says where."""
    monkeypatch.delenv("BABELCLIP_STATE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    speeds |= {"openvino": 1.0, "torch": 9.0}
    assert settle(text_folder) == "torch"
    assert kept(tmp_path / "home" / ".cache" / "babelclip").is_file()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert settle(text_folder) == "torch"
    assert kept(tmp_path / "cache" / "babelclip").is_file()


def test_workers_that_start_together_agree(
    text_folder: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several that measure at once one writes and all follow, though they found different winners."""
    barrier = threading.Barrier(4)
    turn = iter(range(4))

    def measured(*_: Any) -> dict[str, float]:
        barrier.wait(timeout=600)  # All are past the point where they looked for an answer.
        fast = ("openvino", "torch")[next(turn) % 2]
        return {"openvino": 1.0, "torch": 1.0} | {fast: 9.0}

    monkeypatch.setattr(choice, "_rates", measured)
    # A file system without locks: nothing but the file itself keeps them together.
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError("no locks")))
    found: list[str] = []
    starts = [threading.Thread(target=lambda: found.append(settle(text_folder))) for _ in range(4)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert len(set(found)) == 1
    assert json.loads(kept(state).read_text())["runtime"] == found[0]


def test_a_real_trial_takes_the_faster_and_leaves_out_what_fails(
    text_folder: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs are run to compare them; a runtime that fails is no candidate, and if all fail it is said."""
    load = runtimes.load

    def slow_or_broken(program: Path, placement: Placement, **options: Any) -> Any:
        run = load(program, placement, **options)

        def slow(*arrays: Any) -> Any:
            time.sleep(0.2)
            return run(*arrays)

        def broken(*_: Any) -> Any:
            raise RuntimeError("unsupported operator")

        return {"slow": slow, "broken": broken}.get(tempers.get(placement.runtime, ""), run)

    monkeypatch.setattr(runtimes, "load", slow_or_broken)
    tempers = {"openvino": "slow"}
    assert settle(text_folder) == "torch"
    kept(state).unlink()
    tempers = {"openvino": "broken", "torch": "slow"}
    assert settle(text_folder) == "torch"
    kept(state).unlink()
    tempers = {"openvino": "broken", "torch": "broken"}
    with pytest.raises(RuntimeError, match="none of the runtimes openvino, torch"):
        settle(text_folder)


def test_two_workers_and_two_starts_give_the_same_vectors(
    text_folder: Path, state: Path, speeds: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With native bfloat16 every worker computes as the first one did, and its probe says by what."""
    monkeypatch.setattr(device, "_linux_reports_bfloat16", lambda: True)
    settings = {name: value for name, value in LIMITS.items() if name != "dtype"}
    texts = [b"a red heart", b"ein rotes Herz", b"blue star"]
    vectors, notes = [], []
    for fast in ("torch", "openvino", "torch"):
        speeds |= {"openvino": 1.0, "torch": 1.0} | {fast: 9.0}
        worker = Worker(TextHandler, text_folder, dict(settings))
        vectors.append([reply.message.vectors for reply in worker.send(*(grpc(data=text) for text in texts))])
        (probe,) = worker.send(http(b"", accept="application/health+json"))
        notes.append(json.loads(probe.body)["notes"])
    assert notes == [["cpu bfloat16 torch"]] * 3
    assert vectors[1] == vectors[0]
    assert vectors[2] == vectors[0]


def test_the_environment_names_a_runtime(text_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator decides for a whole fleet by BABELCLIP_RUNTIME; an archive's own setting goes first."""
    monkeypatch.setenv("BABELCLIP_RUNTIME", "torch")
    assert Worker(TextHandler, text_folder, dict(LIMITS)).handler.placement.runtime == "torch"
    told = Worker(TextHandler, text_folder, {**LIMITS, "runtime": "openvino"})
    assert told.handler.placement.runtime == "openvino"
    monkeypatch.setenv("BABELCLIP_RUNTIME", "abacus")
    with pytest.raises(RuntimeError, match="BABELCLIP_RUNTIME must be auto, torch, onnxruntime, openvino"):
        Worker(TextHandler, text_folder, dict(LIMITS))
