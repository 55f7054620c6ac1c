"""Device choice, dtype, static shapes and warm-up. Gaudi's software is a stand-in: no card was available."""

from __future__ import annotations

import dataclasses
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.backends import registry

from handlers.clip_text import TextHandler
from handlers.clip_vision import VisionHandler
from handlers.runtime import device
from handlers.runtime.runner import Runner
from handlers.runtime.shapes import row_buckets, row_sizes
from handlers.runtime.torch_runtime import TorchRuntime
from tests.handlers.conftest import DIM, LIMITS, SIZE
from tests.handlers.worker import Worker, grpc

CPU = device.Placement("cpu", "cpu", "float32", autocast=False, compiler="none")


def candidates(**changes: Any) -> list[device.Placement]:
    asked: dict[str, Any] = {
        "device": "auto",
        "dtype": "auto",
        "compile": False,
        "gpu_id": None,
        "program_dtype": "float32",
    }
    asked |= {"runtime": "auto", "forms": ("pt2", "onnx")}
    return device.choose(**(asked | changes))


def choose(**changes: Any) -> device.Placement:
    """The placement where there is nothing to try out."""
    (only,) = candidates(runtime="torch", **changes)
    return only


def runner(folder: Path, placement: device.Placement, max_batch: int = 4) -> Runner:
    def examples(rows: int) -> Iterator[tuple[Any, ...]]:
        yield (np.zeros((rows, SIZE, SIZE, 3), dtype=np.uint8),)

    sizes = row_sizes(placement, max_batch, varied_lengths=False)
    return Runner(folder / f"program.{placement.form}", placement, examples, row_sizes=sizes, threads=1)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BABELCLIP_DEVICE", "BABELCLIP_DTYPE", "HABANA_VISIBLE_DEVICES", "PT_HPU_LAZY_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(device, "_linux_reports_bfloat16", lambda: None)  # torch's answer is the test's


@pytest.fixture
def gaudi(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A stand-in for Gaudi's software; the list notes what was called, in order."""
    calls: list[str] = []

    class Package(types.ModuleType):
        __path__: list[str] = []  # noqa: RUF012

    class Finder(importlib.abc.Loader):
        @staticmethod
        def find_spec(name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
            known = ("habana_frameworks", "habana_frameworks.torch")
            if name.startswith(known):
                return importlib.machinery.ModuleSpec(name, Finder(), is_package=True)
            return None

        @staticmethod
        def create_module(spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
            calls.append(f"import {spec.name}")
            return Package(spec.name)

        @staticmethod
        def exec_module(module: types.ModuleType) -> None:
            if module.__name__ == "habana_frameworks.torch.core":
                import os

                calls.append(f"lazy mode {os.environ.get('PT_HPU_LAZY_MODE')}")
            if module.__name__ == "habana_frameworks.torch.hpu":
                module.is_available = lambda: True  # type: ignore[attr-defined]

                def wrap_in_hpu_graph(inner: Any) -> Any:
                    calls.append("wrap")
                    return inner

                module.wrap_in_hpu_graph = wrap_in_hpu_graph  # type: ignore[attr-defined]

    finder = Finder()
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    yield calls
    for name in [name for name in sys.modules if name.startswith("habana_frameworks")]:
        del sys.modules[name]


def test_a_plain_machine_runs_on_the_cpu() -> None:
    """Without a GPU that TorchServe assigned and without Gaudi, auto is the CPU, uncompiled."""
    placement = choose()
    assert (placement.kind, placement.device, placement.static) == ("cpu", "cpu", False)


def test_cuda_takes_the_gpu_that_torchserve_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker has its own GPU; a worker that was assigned none stays on the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert choose(gpu_id=3).device == "cuda:3"
    assert choose(gpu_id=3).dtype == "bfloat16"
    assert choose(device="cuda").device == "cuda:0"
    assert choose().kind == "cpu"
    assert choose(device="cpu", gpu_id=3).kind == "cpu"


@pytest.mark.parametrize("wanted", ["cuda", "hpu"])
def test_a_missing_device_stops_the_load(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that was asked for and is not there is an error, never a silent CPU."""
    with pytest.raises(RuntimeError, match=wanted):
        choose(device=wanted)
    monkeypatch.setenv("BABELCLIP_DEVICE", wanted)
    with pytest.raises(RuntimeError, match=wanted):
        choose()
    monkeypatch.setenv("BABELCLIP_DEVICE", "tpu")
    with pytest.raises(RuntimeError, match="BABELCLIP_DEVICE"):
        choose()


def test_the_environment_decides_the_dtype_where_the_archive_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An operator turns bfloat16 off for all models at once; an archive's own setting goes first."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.setenv("BABELCLIP_DTYPE", "float32")
    assert choose().dtype == "float32"
    assert choose(dtype="bfloat16").dtype == "bfloat16"
    monkeypatch.setenv("BABELCLIP_DTYPE", "half")
    with pytest.raises(RuntimeError, match="BABELCLIP_DTYPE must be auto, float32 or bfloat16, not 'half'"):
        choose()


def test_bfloat16_only_where_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulated bfloat16 is never chosen; AMX or AVX512-BF16 turns it on; an operator can force either."""
    for amx, avx, expected in ((False, False, False), (True, False, True), (False, True, True)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda has=amx: has)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=avx: has)
        assert choose().autocast is expected
    assert choose(dtype="float32").dtype == "float32"
    assert choose(dtype="bfloat16").autocast
    stored = choose(program_dtype="bfloat16")
    assert (stored.dtype, stored.autocast) == ("bfloat16", False)
    with pytest.raises(ValueError, match="for torch is of bfloat16"):
        choose(program_dtype="bfloat16", dtype="float32")
    with pytest.raises(ValueError, match="int4"):
        choose(program_dtype="int4")


@pytest.mark.parametrize(
    ("told", "expected"), [(False, ("onnxruntime", "float32")), (True, ("openvino", "bfloat16"))]
)
def test_where_linux_reports_bfloat16_no_torch_is_needed(
    told: bool, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that runs by another runtime is spared the import of torch, whatever the CPU can do."""
    monkeypatch.setattr(device, "_linux_reports_bfloat16", lambda: told)
    monkeypatch.setattr(device, "_torch", lambda: pytest.fail("torch was imported"))
    (placement,) = candidates(forms=("onnx",))
    assert (placement.runtime, placement.dtype) == expected


def test_weights_stored_as_bfloat16_are_multiplied_in_what_the_cpu_is_good_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without hardware for it ONNX Runtime computes in float32; with it torch and OpenVINO are tried."""
    monkeypatch.setattr(device, "_linux_reports_bfloat16", lambda: False)
    (plain,) = candidates(program_dtype="bfloat16")
    assert (plain.runtime, plain.dtype) == ("onnxruntime", "float32")
    (asked,) = candidates(program_dtype="bfloat16", dtype="float32")
    assert asked.runtime == "onnxruntime"
    (emulated,) = candidates(program_dtype="bfloat16", forms=("pt2",))
    assert (emulated.runtime, emulated.dtype, emulated.autocast) == ("torch", "bfloat16", False)
    monkeypatch.setattr(device, "has_native_bfloat16", lambda kind: True)
    tried = candidates(program_dtype="bfloat16")
    assert {one.runtime for one in tried} == {"openvino", "torch"}
    assert all(one.dtype == "bfloat16" and not one.autocast for one in tried)


def test_8_bit_weights_are_for_onnx_runtime_on_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """An int8 archive runs by ONNX Runtime whatever the CPU can do, and is refused where it cannot run."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    (placement,) = candidates(program_dtype="int8", forms=("onnx",))
    assert (placement.runtime, placement.dtype) == ("onnxruntime", "int8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    for changes in ({"gpu_id": 0}, {"compile": True}, {"dtype": "bfloat16"}):
        with pytest.raises(ValueError, match="8-bit weights are for CPUs"):
            candidates(program_dtype="int8", forms=("onnx",), **changes)


def test_gaudi_by_default_compiles_in_eager_mode(gaudi: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a card given to the container: eager mode before the first import, hpu_backend, bfloat16."""
    monkeypatch.setenv("HABANA_VISIBLE_DEVICES", "all")
    monkeypatch.setenv("PT_HPU_LAZY_MODE", "unset")
    monkeypatch.delenv("PT_HPU_LAZY_MODE")
    placement = choose()
    assert (placement.kind, placement.device, placement.compiler) == ("hpu", "hpu", "hpu_backend")
    assert placement.autocast
    assert placement.static
    assert gaudi.index("lazy mode 0") < gaudi.index("import habana_frameworks.torch.hpu")


def test_gaudi_is_not_taken_unasked(gaudi: list[str]) -> None:
    """Gaudi's software without a card given to the container is not even imported."""
    assert choose().kind == "cpu"
    assert gaudi == []


def test_gaudi_lazy_mode_wraps_one_graph(
    gaudi: list[str], monkeypatch: pytest.MonkeyPatch, vision_folder: Path
) -> None:
    """In lazy mode the tower is wrapped in an HPU graph, once, and not compiled."""
    monkeypatch.setenv("PT_HPU_LAZY_MODE", "1")
    placement = choose(device="hpu", dtype="float32")
    assert placement.compiler == "hpu_graph"
    on_cpu = dataclasses.replace(placement, device="cpu")
    runner(vision_folder, on_cpu)
    assert gaudi.count("wrap") == 1


@pytest.fixture
def compiled_shapes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Stands in for Gaudi's compiler: notes the shape of each compilation and runs the graph as it is."""
    shapes: list[tuple[int, ...]] = []

    def hpu_backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        shapes.append(next(tuple(i.shape) for i in inputs if not isinstance(i, torch.nn.Parameter)))
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setitem(registry._BACKENDS, "hpu_backend", None)
    monkeypatch.setitem(registry._COMPILER_FNS, "hpu_backend", hpu_backend)
    return shapes


@pytest.mark.slow
def test_only_declared_shapes_are_compiled(
    monkeypatch: pytest.MonkeyPatch, text_folder: Path, text: Worker, compiled_shapes: list[tuple[int, ...]]
) -> None:
    """Warm-up compiles every bucket once; no request compiles again; padding alters no valid row."""
    monkeypatch.setattr(device, "choose", lambda **_: [dataclasses.replace(CPU, compiler="hpu_backend")])
    worker = Worker(TextHandler, text_folder, {**LIMITS, "max_batch": 3})
    declared = {(rows, length) for rows in (1, 2, 3) for length in (4, 8, 12)}
    assert set(compiled_shapes) == declared
    assert len(compiled_shapes) == len(declared)
    words = ["a", "a red heart", "ein rotes Herz", "a " * 9, "blue", "star", "a a a a a a"]
    calls = [grpc(data=word.encode()) for word in words]
    padded, plain = worker.send(*calls), text.send(*calls)
    assert len(compiled_shapes) == len(declared)
    for one, other in zip(padded, plain, strict=True):
        short, long = (np.frombuffer(reply.message.vectors, "<f4") for reply in (one, other))
        np.testing.assert_allclose(short, long, atol=1e-6)


@pytest.mark.parametrize(
    ("largest", "buckets"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))]
)
def test_row_buckets(largest: int, buckets: tuple[int, ...]) -> None:
    """Rows are padded to powers of two and to the largest batch, which need not be one."""
    assert row_buckets(largest) == buckets


def test_a_batch_goes_to_an_accelerator_in_halves(vision_folder: Path) -> None:
    """Beside an accelerator the second half is decoded during the first; on a CPU a batch stays whole."""
    tower = runner(vision_folder, CPU, max_batch=32)
    assert [tower.group_rows(items) for items in (1, 16, 100)] == [32, 32, 32]
    tower.placement = dataclasses.replace(CPU, kind="hpu")
    assert [tower.group_rows(items) for items in (1, 5, 8, 16, 20, 33, 100)] == [4, 4, 4, 8, 16, 32, 32]


def test_autocast_stays_close_and_normalised(vision_folder: Path) -> None:
    """A float32 program under bfloat16 gives nearly the same vectors, of norm 1, its weights cast once."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    exact = runner(vision_folder, CPU)(pixels)
    lower = runner(vision_folder, dataclasses.replace(CPU, dtype="bfloat16", autocast=True))
    rounded = lower(pixels)
    assert (rounded.shape, rounded.dtype) == ((3, DIM), np.dtype("f4"))
    assert ((exact * rounded).sum(axis=1) > 0.999).all()
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(np.linalg.norm(rounded, axis=1), 1.0, atol=1e-6)
    assert isinstance(lower._run, TorchRuntime)
    assert isinstance(lower._run.run, torch.nn.Module)
    dtypes = {name: parameter.dtype for name, parameter in lower._run.run.named_parameters()}
    assert dtypes["projection.weight"] == torch.bfloat16


def test_a_lost_device_ends_the_worker(vision_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When an accelerator stops working, the batch is answered, then the process ends and is replaced."""
    worker = Worker(VisionHandler, vision_folder, dict(LIMITS))
    tower = worker.handler.runner
    monkeypatch.setattr(tower, "placement", dataclasses.replace(CPU, kind="cuda"))

    def broken(*_: object) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(tower, "_run", broken)
    from tests.handlers.images import encoded, motif

    (reply,) = worker.send(grpc(data=encoded(motif())))
    assert [error.code for error in reply.message.errors] == ["internal"]
    with pytest.raises(SystemExit):
        worker.send(grpc(data=encoded(motif())))
