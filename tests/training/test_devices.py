"""Choice of device, precision and order of calls. Gaudi's software is a stand-in: no card was available."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.backends import registry

from training import devices, distributed

GAUDI = "habana_frameworks"
OPTIMIZERS = f"{GAUDI}.torch.hpex.optimizers"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HABANA_VISIBLE_DEVICES", "PT_HPU_LAZY_MODE", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    # What a test sets in the environment by itself goes as well.
    monkeypatch.setattr(os, "environ", dict(os.environ))


@pytest.fixture
def missing() -> set[str]:
    """Modules that this installation of Gaudi's software lacks; "card" for one without a free card."""
    return set()


@pytest.fixture
def gaudi(monkeypatch: pytest.MonkeyPatch, missing: set[str]) -> Iterator[list[str]]:
    """A stand-in for Gaudi's software; the list notes what was called, in order."""
    calls: list[str] = []
    noise = torch.Generator().manual_seed(0)

    class Package(types.ModuleType):
        __path__: list[str] = []  # noqa: RUF012

    class FusedAdamW(torch.optim.AdamW):
        def __init__(self, groups: list[dict[str, Any]], *, betas: tuple[float, float], eps: float) -> None:
            calls.append("FusedAdamW")
            super().__init__(groups, betas=betas, eps=eps)

    contents: dict[str, dict[str, Any]] = {
        f"{GAUDI}.torch.core": {"mark_step": lambda: calls.append("mark_step")},
        f"{GAUDI}.torch.hpu": {"is_available": lambda: "card" not in missing},
        f"{GAUDI}.torch.hpu.random": {"get_rng_state": noise.get_state, "set_rng_state": noise.set_state},
        OPTIMIZERS: {"FusedAdamW": FusedAdamW},
    }

    class Finder(importlib.abc.Loader):
        @staticmethod
        def find_spec(name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
            if name.partition(".")[0] == GAUDI and name not in missing:
                return importlib.machinery.ModuleSpec(name, Finder(), is_package=True)
            return None

        @staticmethod
        def create_module(spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
            return Package(spec.name)

        @staticmethod
        def exec_module(module: types.ModuleType) -> None:
            name = module.__name__.removeprefix(f"{GAUDI}.torch.")
            calls.append(f"import {name}")
            if name == "core":
                calls.append(f"lazy mode {os.environ.get('PT_HPU_LAZY_MODE')}")
            vars(module).update(contents.get(module.__name__, {}))

    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    yield calls
    for name in [name for name in sys.modules if name.startswith(GAUDI)]:
        del sys.modules[name]


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self.head(x)
        return rows


def train(device: devices.Device) -> None:
    """One step as a loop takes it, on the CPU whatever the device is said to be."""
    module = Tower()
    groups = [{"params": list(module.parameters()), "lr": 0.1}]
    optimizer = device.adamw(groups, betas=(0.9, 0.98), eps=1e-6)
    module(torch.ones(1, 2)).sum().backward()
    device.mark_step()
    optimizer.step()
    device.mark_step()


def test_a_plain_machine_trains_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects those without an accelerator: auto is the CPU, and nothing of Gaudi's is asked for."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    device = devices.choose()
    assert (device.kind, device.torch_device, device.backend()) == ("cpu", torch.device("cpu"), "gloo")
    train(device)


@pytest.mark.parametrize("wanted", ["cuda", "hpu"])
def test_a_missing_device_is_an_error(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects a run from silently taking weeks on the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match=wanted):
        devices.choose(wanted)
    with pytest.raises(ValueError, match="tpu"):
        devices.choose("tpu")


def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the GPUs of a machine from all processes crowding on the first, and old ones from bfloat16."""
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    os.environ["LOCAL_RANK"] = "3"
    device = devices.choose()
    assert (device.torch_device, device.backend(), taken) == (torch.device("cuda:3"), "nccl", [3])
    assert not device.bfloat16
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert devices.choose("cuda").bfloat16
    os.environ["LOCAL_RANK"] = "4"
    with pytest.raises(RuntimeError, match=r"cuda:4 .* 4 GPUs"):
        devices.choose("cuda")


def test_bfloat16_only_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects CPUs without AMX and AVX512-BF16 from emulated bfloat16; autocast follows."""
    for amx, avx, expected in ((False, False, False), (True, False, True), (False, True, True)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda has=amx: has)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=avx: has)
        device = devices.choose("cpu")
        assert device.bfloat16 is expected
        with device.autocast():
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == (torch.bfloat16 if expected else torch.float32)


def test_gaudi_in_eager_mode(gaudi: list[str]) -> None:
    """Protects Gaudi's order: mode, core, card; then autocast, the fused optimiser and no marks of steps."""
    os.environ["HABANA_VISIBLE_DEVICES"] = "all"
    device = devices.choose()
    assert (device.kind, device.torch_device, device.bfloat16, device.lazy) == (
        "hpu",
        torch.device("hpu"),
        True,
        False,
    )
    assert gaudi[-3:] == ["import core", "lazy mode 0", "import hpu"]
    with device.autocast() as context:
        assert (context.device, context.fast_dtype) == ("hpu", torch.bfloat16)
    train(device)
    assert "FusedAdamW" in gaudi
    assert "mark_step" not in gaudi


def test_gaudi_in_lazy_mode_marks_both_steps(gaudi: list[str]) -> None:
    """Protects lazy mode from graphs that grow without end: a mark after backward, another after the step."""
    os.environ["PT_HPU_LAZY_MODE"] = "1"
    device = devices.choose("hpu")
    assert device.lazy
    assert "lazy mode 1" in gaudi
    train(device)
    assert gaudi.count("mark_step") == 2
    module = Tower()
    device.compile(module)
    assert module._compiled_call_impl is None


def test_gaudi_compiles_in_eager_mode(gaudi: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects Gaudi's speed in eager mode, and the names of weights from the compiler's prefix."""
    compiled: list[str] = []

    def hpu_backend(graph: torch.fx.GraphModule, _: list[Any]) -> Any:
        compiled.append("graph")
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setitem(registry._BACKENDS, "hpu_backend", None)
    monkeypatch.setitem(registry._COMPILER_FNS, "hpu_backend", hpu_backend)
    module = Tower()
    devices.choose("hpu").compile(module)
    module(torch.ones(1, 2))
    assert compiled == ["graph"]
    assert set(module.state_dict()) == {"head.weight", "head.bias"}


def test_gaudi_without_its_fused_optimiser(gaudi: list[str], missing: set[str]) -> None:
    """Protects installations without Gaudi's extra kernels: torch's own AdamW takes over."""
    missing.add(OPTIMIZERS)
    train(devices.choose("hpu"))
    assert "FusedAdamW" not in gaudi


def test_gaudi_without_a_card(gaudi: list[str], missing: set[str]) -> None:
    """Protects from a container that has Gaudi's software and no card; unasked it is not even imported."""
    missing.add("card")
    with pytest.raises(RuntimeError, match="no Gaudi card"):
        devices.choose("hpu")
    gaudi.clear()
    devices.choose()
    assert gaudi == []


def test_gaudi_registers_its_collectives_first(gaudi: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects init_process_group("hccl") from an unknown backend; a single process joins nothing."""
    device = devices.choose("hpu")
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda name: gaudi.append(f"init {name}"))
    distributed.start(device)
    assert "init hccl" not in gaudi
    os.environ["WORLD_SIZE"] = "8"
    distributed.start(device)
    assert gaudi[-2:] == ["import distributed.hccl", "init hccl"]


def test_generators_come_back(gaudi: list[str]) -> None:
    """Protects resumed runs: the CPU's generator and the device's own are kept and put back."""
    device = devices.choose("hpu")
    own = sys.modules[f"{GAUDI}.torch.hpu"]
    states = device.rng_state()
    assert states.keys() == {"cpu", "hpu"}
    before = torch.rand(3)
    random = sys.modules[f"{own.__name__}.random"]
    random.set_rng_state(torch.Generator().manual_seed(9).get_state())
    device.set_rng_state(states)
    assert torch.equal(torch.rand(3), before)
    assert torch.equal(random.get_rng_state(), states["hpu"])


@pytest.fixture
def threads() -> Iterator[None]:
    """torch's threads come back as they were."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("kind", "processes", "found"), [("cpu", 1, 2), ("cpu", 2, 1), ("cpu", 5, 1), ("cuda", 2, 3)]
)
def test_processes_share_the_cores_of_the_container(
    threads: None, monkeypatch: pytest.MonkeyPatch, kind: str, processes: int, found: int
) -> None:
    """torch counts the cores of the machine; what computes on a CPU has those of its container."""
    monkeypatch.setattr(devices, "usable_cores", lambda: 2)
    torch.set_num_threads(3)
    devices.share_cores(devices.Device(kind, torch.device(kind), bfloat16=False), processes)
    assert torch.get_num_threads() == found


def test_a_process_that_was_given_fewer_threads_keeps_them(
    threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OMP_NUM_THREADS below the number of cores is heeded."""
    monkeypatch.setattr(devices, "usable_cores", lambda: 64)
    torch.set_num_threads(1)
    devices.share_cores(devices.choose("cpu"), 1)
    assert torch.get_num_threads() == 1
