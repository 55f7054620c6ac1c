"""That an exported tower's memory is freed."""

from pathlib import Path

import psutil
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from export import memory

MEGABYTES = 64


def test_a_freed_tower_holds_no_memory_while_its_file_is_in_use(tmp_path: Path) -> None:
    """Protects large exports: one tower goes, the other stays what it was, though both are of one file."""
    rows = MEGABYTES * 2**20 // 4096
    save_file(
        {"vision": torch.rand(rows, 1024), "text": torch.rand(rows, 1024)}, tmp_path / "both.safetensors"
    )
    state = load_file(tmp_path / "both.safetensors")
    model = nn.Module()
    for name in ("vision", "text"):
        layer = nn.Linear(1, 1, bias=False)
        layer.weight = nn.Parameter(state[name])
        setattr(model, name, layer)
    remembered = model.vision  # as an exporter's cache does
    del state
    sums = {name: getattr(model, name).weight.sum().item() for name in ("vision", "text")}
    before = psutil.Process().memory_info().rss
    memory.free_tower(model, "vision")
    freed = (before - psutil.Process().memory_info().rss) / 2**20
    assert freed > 0.8 * MEGABYTES
    assert not hasattr(model, "vision")
    assert isinstance(remembered, nn.Linear)
    assert remembered.weight.numel() == 0
    assert model.get_parameter("text.weight").sum().item() == sums["text"]


def test_what_both_towers_have_stays() -> None:
    """Protects a tower whose weights are the other's too: nothing would tell that they are gone."""
    model = nn.Module()
    vision, text = nn.Linear(4, 4), nn.Linear(4, 4)
    shared = torch.rand(4, 4)
    for name, tower in (("vision", vision), ("text", text)):
        tower.weight = nn.Parameter(shared)  # two parameters, one memory
        setattr(model, name, tower)
    memory.free_tower(model, "vision")
    assert vision.bias.numel() == 0
    torch.testing.assert_close(model.get_parameter("text.weight").detach(), shared)
    assert model.get_parameter("text.weight").numel() == 16
