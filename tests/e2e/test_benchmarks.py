"""Every benchmark in its quick form, on a real server: that it finds what is due. No figure is judged.

One server is started for all that only embed; those that kill, change or compare servers start their own.
"""

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from babelclip.wire import MAX_ITEMS
from benchmarks.support import server as servers
from benchmarks.support import towers
from tests.benchmarks.commands import command_module

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def folder(store: Path) -> Iterator[Path]:
    """What benchmarks keep lies in a folder of the tests', and the committed model is exported already.

    All compute in float32: in bfloat16 a vector differs by a rounding from one batch to the next.
    """
    # Short, because of the sockets in it.
    with tempfile.TemporaryDirectory(prefix="bench") as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("BABELCLIP_DTYPE", "float32")
        patch.setattr(towers, "FOLDER", Path(made))
        patch.setattr(towers, "mini_store", lambda: store)
        yield Path(made)


@pytest.fixture(scope="module")
def shared(folder: Path, store: Path) -> Iterator[servers.Server]:
    """One server of the committed model."""
    with servers.serving(store, name="shared") as server:
        yield server


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a benchmark's command; return what stands in its last line."""

    def benchmark(name: str, *arguments: str, server: servers.Server | None = None) -> dict[str, Any]:
        module = command_module(name)
        if server is not None:
            monkeypatch.setattr(module, "serving", lambda *_: contextlib.nullcontext(server))
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        module.main()
        last = capsys.readouterr().out.strip().splitlines()[-1]
        assert last.startswith("result: ")
        result: dict[str, Any] = json.loads(last.removeprefix("result: "))
        return result

    return benchmark


def test_soak(run: Run, shared: servers.Server) -> None:
    """A mixed load with poison loses no worker, and memory and shapes are told of every process."""
    result = run("soak", "--quick", server=shared)
    assert (result["requests"], result["restarts"]) == (640, 0)
    assert "image_undecodable" in result["errors"]  # of the poison
    assert set(result["shapes"]) == {"text", "vision"}
    assert all(count > 0 for count in result["shapes"].values())
    assert {"worker_growth", "frontend_growth"} <= set(result)


@pytest.mark.parametrize("tower", ["vision", "text"])
def test_poison(run: Run, shared: servers.Server, tower: str) -> None:
    """Broken items among good ones cost none of them, and no worker."""
    result = run("poison", "--quick", "--tower", tower, server=shared)
    assert (result["tower"], result["good_lost"], result["workers_replaced"]) == (tower, 0, 0)
    assert result["good_items"] > 0
    assert result["poison"] > 0
    assert result["min_cosine"] > 0.9999


# By aiohttp, of 32 photographs in one body: it warns servers, and shows it to nobody unless asked.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
def test_serve(run: Run, shared: servers.Server) -> None:
    """Every kind of load is served without an error, beside the limit of one process."""
    result = run("serve", "--quick", server=shared)
    assert result["errors"] == 0
    for name in ("http_of_limit", "grpc_of_limit", "http_many_of_limit", "text_of_limit"):
        assert result[name] > 0
    assert result["p50_single_ms"] > 0


def test_client(run: Run, shared: servers.Server) -> None:
    """The asynchronous client gets all texts, over both transports, beside the load generator."""
    result = run("client", "--quick", server=shared)
    assert result["texts"] == MAX_ITEMS
    for transport in ("http", "grpc"):
        assert result[transport]["ratio"] > 0
        assert result[transport]["generator_ratio"] > 0


def test_gateway(run: Run, shared: servers.Server) -> None:
    """The gateway answers over both transports, between turns of the engine behind it."""
    result = run("gateway", "--quick", server=shared)
    for name in ("http", "grpc", "text", "text_grpc"):
        assert result[f"{name}_of_direct"] > 0
    assert "added_p50_ms" in result
    assert result["repeated_texts_speedup"] > 0


def test_overload(run: Run, shared: servers.Server) -> None:
    """Asked for more than there is, the gateway answers or refuses, and serves a modest key."""
    result = run("overload", "--quick", "--tower", "text", server=shared)
    for name in ("capacity_per_s", "goodput_of_capacity", "p99_of_capacity_p99", "other_p99_of_alone"):
        assert result[name] > 0
    assert result["refused_within_ms_p99"] >= 0
    assert {"refused", "other_refused"} <= set(result)


def test_capacity(run: Run, shared: servers.Server) -> None:
    """A rate that keeps the objective is found through the gateway, and what a target takes is planned."""
    result = run("capacity", "--quick", "--tower", "mixed", server=shared)
    assert 0 < result["capacity_per_s"] <= 40
    assert result["p50_ms"] <= result["p99_ms"] <= result["slo_p99_ms"] == 5000
    assert result["busy_cores"] > 0
    assert result["replicas"] >= 100 / 40
    assert result["target_cores"] == result["replicas"] * result["cores"]
    assert result["cost_per_hour"] == pytest.approx(0.04 * result["target_cores"])


def test_peers(run: Run, shared: servers.Server) -> None:
    """The plain handler gives our vectors, and whoever cannot run here is named."""
    result = run("peers", "--quick", server=shared)
    assert result["cosine_with_ours"]["image, plain"] > 0.99
    assert result["images_vs_plain_handler"] > 0
    assert set(result["rates"]) == {"image, ours", "image, plain", "text, ours"}
    assert set(result["left_out"]) == {"infinity"}


@pytest.mark.parametrize(("tower", "options"), [("vision", ()), ("text", ("--runtimes",))])
def test_limit(run: Run, tower: str, options: tuple[str, ...]) -> None:
    """The machine's limit is found without a server, part by part, and that of every runtime where asked."""
    result = run("limit", "--quick", "--tower", tower, *options)
    assert result["tower"] == tower
    for name in ("gemm_per_s", "model_per_s", "decode_per_s", "pipeline_per_s", "single_ms"):
        assert result[name] > 0
    if options:
        assert {"torch", "onnxruntime"} <= set(result["runtimes"])


def test_towers(run: Run, store: Path) -> None:
    """What is measured is there, with the floating-point operations of each tower."""
    result = run("towers", "--quick")
    assert result["store"] == str(store)
    assert all(result["flops"][tower] > 1e5 for tower in ("text", "vision"))


def test_footprint(run: Run) -> None:
    """A variant of the text tower is exported, served, and its memory told after each load."""
    (figures,) = run("footprint", "--quick").values()
    assert figures["archive_mb"] > 0
    assert figures["resident_mb_after_longest"] > 0


def test_training(run: Run) -> None:
    """A dual encoder trains whole and by its heads alone, and both rates are found in the command's log."""
    result = run("training", "--quick", "--device", "cpu")
    for what in ("full", "heads"):
        assert result[what]["rows"] > 0
        assert result[what]["rows_per_s"] > result[what]["rows_per_s_with_initialisation"] > 0


def test_rollout(run: Run, new_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions change to and fro under callers, none of whom fails or sees two spaces."""
    monkeypatch.setattr(towers, "other_store", lambda: new_store)
    result = run("rollout", "--quick")
    assert (result["switches"], result["failed_requests"], result["mixed_space"]) == (2, 0, 0)


def test_rollout_through_the_gateway(run: Run, new_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway's switch is one step: nobody fails, is mixed, or is answered by what was before it."""
    monkeypatch.setattr(towers, "other_store", lambda: new_store)
    result = run("rollout", "--quick", "--gateway")
    found = (result["switches"], result["failed_requests"], result["mixed_space"], result["stale"])
    assert found == (2, 0, 0, 0)


def test_dedup(run: Run) -> None:
    """Planted duplicates are found, and the time is told for each number of rows."""
    result = run("dedup", "--quick")
    assert (result["images"], result["planted"]) == (60, 12)
    assert 0 < result["precision"] <= 1
    assert 0 < result["recall"] <= 1
    assert set(result["seconds_of_rows"]) == {"100", "200"}
    assert result["growth"] > 0


def test_restart(run: Run) -> None:
    """A server that is killed in the middle of a call loses no item and answers the same after its start."""
    result = run("restart", "--quick")
    assert result == {"items": 120, "lost": 0, "wrong": 0}


def test_compare(run: Run, store: Path) -> None:
    """Two stores are served at once; one and the same has the same vectors twice."""
    result = run("compare", str(store), str(store), "--quick")
    assert len(result["ratios"]) == 2
    assert result["least_cosine"] > 0.999
