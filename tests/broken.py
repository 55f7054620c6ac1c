"""Broken model folders: how a copy of a sound one is spoilt, and what must be said of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.checkpoint import CheckpointError
from models.loaders import registry


def spoil_json(name: str, **values: object) -> Callable[[Path], None]:
    """Set values of one of the folder's JSON files."""

    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return spoil


def spoil_weights(name: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    """Change the tensors of one of the folder's safetensors files."""

    def spoil(folder: Path) -> None:
        state = load_file(folder / name)
        change(state)
        save_file(state, folder / name, metadata={"format": "pt"})

    return spoil


def assert_refused_in_one_line(source: Path, says: str) -> None:
    """It does not load, and one line names the place and what is wrong with it."""
    with pytest.raises(CheckpointError) as caught:
        registry.load(source)
    assert says in str(caught.value)
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)
