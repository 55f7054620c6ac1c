"""What decays, how the rate runs, what clipping leaves."""

import pytest
import torch
from torch import nn

from training import devices, losses
from training import optimizer as optimisation

CPU = devices.Device("cpu", torch.device("cpu"), bfloat16=False)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 4)
        self.norm = nn.LayerNorm(4)
        self.linear = nn.Linear(4, 3)
        self.relative_bias = nn.Parameter(torch.ones(2, 2))
        self.scale = losses.LogitScale()
        self.frozen = nn.Linear(3, 3).requires_grad_(False)


def test_only_matrices_decay() -> None:
    """Protects biases, norms and the logit scale from being drawn to zero, and frozen weights altogether."""
    module = Small()
    decayed, exempt = optimisation.parameter_groups(module, rate=1e-3)
    names = {id(p): name for name, p in module.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} == {"words.weight", "linear.weight"}
    assert {names[id(p)] for p in exempt["params"]} == {
        "norm.weight",
        "norm.bias",
        "linear.bias",
        "relative_bias",
        "scale.log_scale",
    }
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.2, 0.0)
    optimizer = optimisation.adamw([decayed, exempt], CPU)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    for p in module.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    moved = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"words.weight", "linear.weight"}


def test_no_group_is_empty() -> None:
    """Protects Gaudi's fused AdamW, which fails on an empty group."""
    (only,) = optimisation.parameter_groups(losses.LogitScale(), rate=1e-3)
    assert only["weight_decay"] == 0.0
    assert optimisation.parameter_groups(Small().frozen, rate=1e-3) == []


def test_the_rate_warms_up_and_runs_down() -> None:
    """Protects the schedule's corners: first step, peak, half way, end, and beyond the end."""

    def factor(step: int, floor: float = 0.0) -> float:
        return optimisation.rate_factor(step, steps=110, warmup=10, floor=floor)

    assert [factor(step) for step in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert [factor(step) for step in (60, 110, 500)] == pytest.approx([0.5, 0.0, 0.0])
    assert [factor(step, floor=0.1) for step in (10, 60, 110)] == pytest.approx([1.0, 0.55, 0.1])
    falling = [factor(step) for step in range(10, 111)]
    assert falling == sorted(falling, reverse=True)
    assert optimisation.rate_factor(0, steps=1, warmup=0) == 1.0
    with pytest.raises(ValueError, match="110 steps must end within the 110"):
        optimisation.rate_factor(0, steps=110, warmup=110)


def test_each_group_keeps_its_own_peak() -> None:
    """Protects towers of different rates: one factor, each group's own peak, the same after many steps."""
    groups = optimisation.parameter_groups(nn.Linear(2, 2), rate=1e-3)
    groups += optimisation.parameter_groups(nn.Linear(2, 2), rate=1e-2)
    optimizer = optimisation.adamw(groups, CPU)
    for _ in range(3):
        optimisation.set_rates(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [5e-4, 5e-4, 5e-3, 5e-3]
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.98)}


def test_clipping_keeps_the_direction() -> None:
    """Protects the step from a few wild gradients: all are scaled together, small ones are left alone."""
    one, other = (nn.Parameter(torch.zeros(2)) for _ in range(2))
    one.grad, other.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert optimisation.clip_gradients([one, other], 1.0).item() == pytest.approx(5.0)
    torch.testing.assert_close(one.grad, torch.tensor([0.6, 0.0]))
    torch.testing.assert_close(other.grad, torch.tensor([0.0, 0.8]))
    assert optimisation.clip_gradients([one, other], 2.0).item() == pytest.approx(1.0)
    torch.testing.assert_close(one.grad, torch.tensor([0.6, 0.0]))
