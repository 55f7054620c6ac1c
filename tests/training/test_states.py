"""Resumable states: a resumed run goes on to the bit, and a process may be stopped at any moment."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.files.weights import CheckpointError
from training import devices, distributed, states
from training import optimizer as optimisation
from training.states import Position

CPU = devices.Device("cpu", torch.device("cpu"), bfloat16=False)
STEPS = 6


def small(width: int = 8) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A module with dropout, which draws from torch's generator, and its optimiser."""
    module = nn.Sequential(nn.Linear(4, width), nn.LayerNorm(width), nn.Dropout(0.5), nn.Linear(width, 1))
    return module, optimisation.adamw(optimisation.parameter_groups(module, rate=1e-2), CPU)


def train(folder: Path, first: int, last: int) -> list[float]:
    """Losses of the steps [first, last); each draws from every generator; the end is saved."""
    torch.set_num_threads(1)
    torch.manual_seed(first)
    random.seed(first)
    np.random.seed(first)
    module, optimizer = small()
    row = 0
    if found := states.latest(folder):
        position = states.load(found, module, optimizer, CPU)
        assert position.step == first
        row = position.sampler["row"]
    data = torch.randn(100, 4, generator=torch.Generator().manual_seed(1))
    losses = []
    for step in range(first, last):
        optimisation.set_rates(optimizer, optimisation.rate_factor(step, steps=STEPS, warmup=2))
        x = data[row : row + 5] + random.random() + np.random.normal()
        row += 5
        loss = (module(x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimisation.clip_gradients(module.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    states.save(folder, module, optimizer, CPU, Position(last, {"row": row}))
    return losses


def train_elsewhere(folder: Path, first: int, last: int) -> None:
    torch.save(train(folder, first, last), folder / "losses")


def save_for_ever(folder: Path) -> None:
    """Write states until killed; the weights of a state are all equal to its step."""
    torch.set_num_threads(1)
    module, optimizer = small(width=20_000)
    found = states.latest(folder)
    step = int(found.stem.partition("-")[2]) if found else 0
    while True:
        step += 1
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.fill_(step)
        states.save(folder, module, optimizer, CPU, Position(step, {}, score=-step), keep=2)


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    """Fresh processes that do not each load torch and what its optimisers take again."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch._dynamo"])
    return context


@pytest.mark.slow
def test_a_resumed_run_goes_on_as_if_never_stopped(
    tmp_path: Path, processes: multiprocessing.context.ForkServerContext
) -> None:
    """Protects exact resumption: three steps, and three in a new process, have the losses of six."""
    whole = train(tmp_path / "whole", 0, STEPS)
    folder = tmp_path / "halves"
    first = train(folder, 0, STEPS // 2)
    process = processes.Process(target=train_elsewhere, args=(folder, STEPS // 2, STEPS))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert first + torch.load(folder / "losses") == whole


def test_a_killed_writer_leaves_whole_states(
    tmp_path: Path, processes: multiprocessing.context.ForkServerContext
) -> None:
    """Protects runs on machines that are taken away: after a kill -9 every state loads, the latest is new."""
    chance = random.Random(0)
    module, optimizer = small(width=20_000)
    before = 0
    for _ in range(8):
        process = processes.Process(target=save_for_ever, args=(tmp_path,))
        process.start()
        while (found := states.latest(tmp_path)) is None or found.stem == f"step-{before:09d}":
            assert process.is_alive()
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        process.join()
        process.close()
        found = states.latest(tmp_path)
        assert found is not None
        step = states.load(found, module, optimizer, CPU).step
        assert step > before
        assert all(bool((parameter == step).all()) for parameter in module.parameters())
        for path in tmp_path.glob("step-*.pt"):
            states.load(path, module, optimizer, CPU)
        before = step


def test_the_last_and_the_best_stay(tmp_path: Path) -> None:
    """Protects the disk from filling up, and the best state from being thrown away with the old ones."""
    module, optimizer = small()
    scores = [0.1, 0.7, None, 0.3, float("nan"), np.float64(0.2)]
    for step, score in enumerate(scores, start=1):
        states.save(tmp_path, module, optimizer, CPU, Position(step, {}, score), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-000000002.pt",
        "step-000000005.pt",
        "step-000000006.pt",
    ]
    assert states.best(tmp_path) == tmp_path / "step-000000002.pt"
    assert states.latest(tmp_path) == tmp_path / "step-000000006.pt"
    assert states.load(tmp_path / "step-000000006.pt", module, optimizer, CPU) == Position(6, {}, 0.2)
    with pytest.raises(ValueError, match="at least one"):
        states.save(tmp_path, module, optimizer, CPU, Position(7, {}), keep=0)


def test_an_unfinished_state_is_not_one(tmp_path: Path) -> None:
    """Protects resumption from what a stopped writer left, which the next save clears away."""
    assert states.latest(tmp_path / "none") is None
    assert states.best(tmp_path) is None
    left = tmp_path / "step-000000009.pt.partial"
    left.write_bytes(b"PK")
    assert states.latest(tmp_path) is None
    module, optimizer = small()
    states.save(tmp_path, module, optimizer, CPU, Position(1, {}))
    assert states.latest(tmp_path) == tmp_path / "step-000000001.pt"
    assert not left.exists()


def test_a_state_that_could_not_be_loaded_is_not_kept(tmp_path: Path) -> None:
    """Protects from learning only at resumption that the sampler's position was no plain value."""
    module, optimizer = small()
    states.save(tmp_path, module, optimizer, CPU, Position(1, {"row": 5}))
    with pytest.raises(CheckpointError, match="step-000000002"):
        states.save(tmp_path, module, optimizer, CPU, Position(2, {"row": tmp_path}))
    assert states.latest(tmp_path) == tmp_path / "step-000000001.pt"


def test_what_is_no_state_or_of_another_model_is_named(tmp_path: Path) -> None:
    """Protects whoever points at the wrong file from a stack trace of torch's, and from code in pickles."""
    module, optimizer = small()
    path = tmp_path / "step-000000001.pt"
    for broken in (b"", b"PK\x03\x04", b"cos\nsystem\n(S'true'\ntR."):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match=path.name):
            states.load(path, module, optimizer, CPU)
    torch.save({"model": {}}, path)
    with pytest.raises(CheckpointError, match="format 1"):
        states.load(path, module, optimizer, CPU)
    states.save(tmp_path, *small(width=9), CPU, Position(1, {}))
    with pytest.raises(CheckpointError, match="another model"):
        states.load(path, module, optimizer, CPU)


def test_every_process_has_its_own_generators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects several processes from drawing one process's numbers, and a run that goes on with fewer."""
    module, optimizer = small()
    generators = []
    for seed in range(2):
        torch.manual_seed(seed)
        generators.append(states.rng_state(CPU))
    expected = torch.rand(1)
    monkeypatch.setattr(distributed, "gather_objects", lambda _: generators)
    states.save(tmp_path, module, optimizer, CPU, Position(1, {}))
    (path,) = tmp_path.iterdir()
    with pytest.warns(UserWarning, match="2 processes, not 1"):
        states.load(path, module, optimizer, CPU)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    states.load(path, module, optimizer, CPU)
    assert torch.equal(torch.rand(1), expected)
    states.save(tmp_path, module, optimizer, CPU, Position(2, {}))
    assert states.latest(tmp_path) == path  # only process 0 writes
