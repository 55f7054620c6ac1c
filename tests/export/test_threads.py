"""How many threads an export computes with."""

import sys
from pathlib import Path

import pytest
import torch

from export import command
from export.__main__ import main
from tests.places import MINI


@pytest.mark.parametrize(("cores", "set_by_environment", "taken"), [(64, 1, 1), (1, 3, 1)])
def test_the_smaller_number_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, set_by_environment: int, taken: int
) -> None:
    """Neither a container's limit nor OMP_NUM_THREADS is exceeded: more threads wait for one another."""
    found: list[int] = []

    def record(*_: object) -> dict[str, object]:
        found.append(torch.get_num_threads())
        return {}

    before = torch.get_num_threads()
    monkeypatch.setattr(command, "usable_cores", lambda: cores)
    monkeypatch.setattr(command, "export", record)
    monkeypatch.setattr(sys, "argv", ["export", str(MINI), "--store", str(tmp_path)])
    torch.set_num_threads(set_by_environment)
    try:
        main()
    finally:
        torch.set_num_threads(before)
    assert found == [taken]
