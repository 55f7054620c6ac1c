"""The losses, in one process and in two: what two processes learn must be what one learns from all rows."""

from __future__ import annotations

import math
import os
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

from training import devices, distributed, losses

PROCESSES, ROWS, DIM = 2, 5, 8  # rows of one process
CPU = devices.Device("cpu", torch.device("cpu"), bfloat16=False)

UNIQUE = torch.arange(PROCESSES * ROWS)
DUPLICATES = torch.tensor([0, 1, 2, 1, 4, 1, 6, 0, 8, 8])  # within a process, and across both
# Row 0 and row 7 show one image, row 1 and row 7 have one caption; rows 0 and 1 have nothing in common.
TWO_KEYS = torch.stack([torch.tensor([0, 1, 2, 3, 4, 5, 6, 0, 8, 9]), 20 + DUPLICATES], dim=1)
TWO_KEYS[7] = torch.tensor([0, 21])
PARTNERS = torch.tensor([0, 1, 2, 0, 1, 2, 3, 4, 3, 4])  # every row has another of its label
LABELS = {"partners": PARTNERS, "unique": UNIQUE, "duplicates": DUPLICATES, "two_keys": TWO_KEYS}
CASES = [
    *((kind, name) for kind in ("contrastive", "sigmoid") for name in LABELS),
    ("supervised", "partners"),
    ("teacher", "unique"),
]


class Pair(nn.Module):
    """Two small towers and what the loss learns beside them."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.image, self.text = nn.Linear(6, DIM), nn.Linear(4, DIM)
        if kind == "teacher":
            self.image.requires_grad_(False)
        else:
            self.scale = losses.LogitScale()
        if kind == "sigmoid":
            self.bias = losses.LogitBias()
        self.kind = kind

    def replicate_parts(self) -> None:
        """For a loop that calls the towers one by one."""
        for name, part in list(self.named_children()):
            setattr(self, name, distributed.replicated(part))

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        learned = tuple(getattr(self, name)() for name in ("scale", "bias") if hasattr(self, name))
        return F.normalize(self.image(image), dim=-1), F.normalize(self.text(text), dim=-1), learned


class Words(nn.Module):
    """A buffer that the backward pass needs again, and that must start as process 0 has it."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 1)
        self.register_buffer("positions", torch.tensor([start, start + 1]))

    def forward(self, factor: float) -> Tensor:
        rows: Tensor = self.table(self.positions) * factor
        return rows


def inputs() -> tuple[Tensor, Tensor]:
    noise, rows = torch.Generator().manual_seed(5), PROCESSES * ROWS
    return torch.randn(rows, 6, generator=noise), torch.randn(rows, 4, generator=noise)


def learn(kind: str, labels: str, rows: slice, *, apart: bool = False) -> dict[str, Tensor]:
    """Loss and gradients of a step over these rows; the model is replicated whole, or in parts."""
    module = Pair(kind)
    parameters = dict(module.named_parameters())
    if apart:
        module.replicate_parts()
    model = module if apart else distributed.replicated(module)
    image, text, learned = model(*(part[rows] for part in inputs()))
    if kind == "teacher":
        loss = losses.teacher_mse(text, image)
    elif kind == "supervised":
        scale, label = learned[0], LABELS[labels][rows]
        loss = losses.supervised_contrastive(image, label, scale)
        loss = loss + losses.supervised_contrastive(text, label, scale)
    else:
        loss = getattr(losses, kind)(image, text, LABELS[labels][rows], *learned)
    loss.backward()
    found = {"loss": loss.detach()}
    for name, parameter in parameters.items():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            found[name] = parameter.grad
    return found


def one_of_two(rank: int, port: int, folder: Path) -> None:
    """What each of the two processes does; it leaves its findings in the folder."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(PROCESSES)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    distributed.start(CPU)
    rows = slice(rank * ROWS, (rank + 1) * ROWS)
    found: dict[str, Any] = {f"{kind} {labels}": learn(kind, labels, rows) for kind, labels in CASES}
    found["apart"] = learn("sigmoid", "duplicates", rows, apart=True)
    found["order"] = distributed.gather(torch.tensor([distributed.rank()]))
    found["mean"] = distributed.mean({"b": 1.0 + rank, "a": 10.0 * rank}, CPU)
    found["objects"] = distributed.gather_objects({"rank": rank})
    words = Words(start=rank)
    tower = distributed.replicated(words)
    (tower(1.0 + rank) + tower(10.0)).sum().backward()
    found["twice"] = words.table.weight.grad
    norm = nn.BatchNorm1d(1, momentum=0.5)
    seen = distributed.replicated(norm)
    for _ in range(2):
        seen(torch.full((4, 1), 8.0 * rank)).sum().backward()
    found["statistics"] = norm.running_mean
    found["frozen"] = distributed.replicated(words.requires_grad_(False)) is words
    torch.save(found, folder / f"{rank}.pt")
    distributed.stop()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The findings of two processes that a torchrun could have started, each with half of the batch."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Two processes that do not each load torch and what its optimisers take again.
    torch.multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "torch._dynamo"])
    start_processes(one_of_two, (port, folder), nprocs=PROCESSES, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "labels"), CASES)
def test_two_processes_learn_what_one_does(kind: str, labels: str, two: list[dict[str, Any]]) -> None:
    """Protects gathered negatives: loss and every gradient are those of one process with the whole batch."""
    whole = learn(kind, labels, slice(None))
    parts = [found[f"{kind} {labels}"] for found in two]
    mean = torch.stack([part["loss"] for part in parts]).mean()
    torch.testing.assert_close(mean, whole["loss"], atol=1e-6, rtol=1e-6)
    learned = {"scale.log_scale"} if kind != "teacher" else set()
    assert learned | {"text.weight", "text.bias"} <= whole.keys()
    for name in whole.keys() - {"loss"}:
        assert whole[name].abs().max() > 1e-4, f"{name} learns nothing, so there is nothing to compare"
        for part in parts:
            # The scale's gradient is a sum whose terms cancel: its last digits depend on the CPU's order.
            torch.testing.assert_close(part[name], whole[name], atol=5e-6, rtol=1e-5)


def test_towers_may_be_replicated_one_by_one(two: list[dict[str, Any]]) -> None:
    """Protects loops that call each tower by itself: the same gradients as from one replicated model."""
    for found in two:
        for name, value in found["sigmoid duplicates"].items():
            torch.testing.assert_close(found["apart"][name], value)


def test_processes_share_what_they_found(two: list[dict[str, Any]]) -> None:
    """Protects order of ranks, means over processes, and what replicated modules do with their buffers."""
    for rank, found in enumerate(two):
        assert found["order"].tolist() == [0, 1]
        assert found["mean"] == {"a": 5.0, "b": 1.5}
        assert found["objects"] == [{"rank": 0}, {"rank": 1}], rank
        assert found["twice"].flatten().tolist() == [11.5, 11.5, 0.0]
        # From process 0's 0 after the first step, half-way to the 8 of process 1's rows in the second.
        assert found["statistics"].tolist() == [4.0 * rank]
        assert found["frozen"]


def test_one_process_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the loop from special cases: alone, every function of `distributed` gives back what it got."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    distributed.start(CPU)
    rows, module = torch.randn(3, 2), nn.Linear(2, 2)
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.gather(rows) is rows
    assert distributed.gather_objects("a") == ["a"]
    assert distributed.mean({"a": 2.0}, CPU) == {"a": 2.0}
    assert distributed.replicated(module) is module
    distributed.stop()


def unit(seed: int, rows: int = 6) -> Tensor:
    return F.normalize(torch.randn(rows, DIM, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize("label", [torch.arange(6), torch.tensor([0, 1, 0, 3, 1, 0])])
def test_contrastive_is_clips_with_equal_labels_shared(label: Tensor) -> None:
    """Protects the loss from drifting away from Radford et al.'s, and rows of one label from being parted."""
    image, text, scale = unit(1), unit(2), torch.tensor(10.0)
    found = losses.contrastive(image, text, label, scale)
    expected = 0.0
    for logits in (scale * image @ text.T, scale * text @ image.T):
        for row, own in zip(logits.log_softmax(1), label, strict=True):
            expected -= float(row[label == own].mean()) / 12
    assert found.item() == pytest.approx(expected, rel=1e-5)
    if len(label.unique()) == len(label):
        logits = scale * image @ text.T
        clip = (F.cross_entropy(logits, label) + F.cross_entropy(logits.T, label)) / 2
        torch.testing.assert_close(found, clip)


def test_a_row_is_not_compared_with_itself() -> None:
    """Protects Khosla et al.'s formula: each row among the others, those of its label in equal shares."""
    rows, label = unit(1), torch.tensor([0, 0, 1, 1, 0, 1])
    expected = 0.0
    for i in range(6):
        others = [j for j in range(6) if j != i]
        logits = (10 * rows[others] @ rows[i]).log_softmax(0)
        expected -= float(logits[label[others] == label[i]].mean()) / 6
    found = losses.supervised_contrastive(rows, label, 10.0)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_proxies_count_by_their_direction() -> None:
    """Protects the softmax over one vector per label from the vectors' lengths, which may grow."""
    rows, proxies, label = unit(1), unit(2, rows=3), torch.tensor([0, 1, 2, 0, 1, 2])
    expected = F.cross_entropy(10 * rows @ proxies.T, label)
    torch.testing.assert_close(losses.proxy_softmax(rows, 7 * proxies, label, 10.0), expected)


def test_a_row_may_agree_by_image_or_by_caption() -> None:
    """Protects batches in which one image has two captions and one caption has two images."""
    same = losses._same(TWO_KEYS)
    assert same[7].nonzero().flatten().tolist() == [0, 1, 3, 5, 7]
    assert same[0].nonzero().flatten().tolist() == [0, 7]
    assert torch.equal(same, same.T)


def test_sigmoid_is_written_pair_by_pair() -> None:
    """Protects SigLIP's formula, with duplicates as positives, against a loop over all pairs."""
    image, text, label = unit(1), unit(2), [0, 1, 2, 1, 4, 5]
    scale, bias = 10.0, -10.0
    total = 0.0
    for i in range(6):
        for j in range(6):
            z = 1 if label[i] == label[j] else -1
            total += math.log1p(math.exp(-z * (scale * float(image[i] @ text[j]) + bias)))
    found = losses.sigmoid(image, text, torch.tensor(label), torch.tensor(scale), torch.tensor(bias))
    assert found.item() == pytest.approx(total / 6, rel=1e-5)


def test_the_teacher_is_a_target_only() -> None:
    """Protects AltCLIP's first stage: mean squared error, in float32, and no gradient for the teacher."""
    student = torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True)
    teacher = torch.full((2, 3), 3.0, requires_grad=True)
    loss = losses.teacher_mse(student, teacher)
    loss.backward()
    assert (loss.item(), loss.dtype) == (4.0, torch.float32)
    assert teacher.grad is None
    assert student.grad is not None


def test_the_scale_stays_within_its_limits_and_can_come_back() -> None:
    """Protects the scale: from 1/0.07, at most 100 and not 100.003, at least 1, never stuck at a limit."""
    scale = losses.LogitScale()
    assert scale.log_scale.item() == pytest.approx(2.6592, abs=1e-4)
    scale.clamp()
    assert scale().item() == pytest.approx(1 / 0.07)
    for far, limit in ((9.0, 100.0), (-3.0, 1.0)):
        scale.log_scale.data.fill_(far)
        scale.clamp()
        assert scale().item() == pytest.approx(limit, rel=1e-7)
        scale.zero_grad()
        scale().backward()
        assert scale.log_scale.grad is not None
        assert scale.log_scale.grad.item() == pytest.approx(limit)


@pytest.mark.parametrize("loss", [losses.contrastive, losses.sigmoid])
def test_logits_are_float32_under_autocast(loss: Callable[..., Tensor]) -> None:
    """Protects small differences between logits from bfloat16, wherever the loss is called."""
    learned = [torch.tensor(100.0), torch.tensor(-10.0)][: 1 if loss is losses.contrastive else 2]
    exact = loss(unit(1), unit(2), torch.arange(6), *learned)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(unit(1), unit(2), torch.arange(6), *learned), exact)


def test_a_label_is_the_same_in_every_process() -> None:
    """Protects labels from Python's hash of strings, which differs from process to process."""
    assert losses.label_of("ein rotes Herz") == 3790315944001607583
    labels = torch.tensor([losses.label_of(str(i)) for i in range(1000)])  # fit into int64
    assert len(labels.unique()) == 1000
    assert labels.min() >= 0
