"""How the tests of the stages call them, and what they are trained on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from training.recipes.mini import tables as emoji_tables


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny matrices are slower on several threads; and exact sums need one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sets what its decoding processes need; this puts back what was there."""
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, emoji_root: Path) -> Path:
    """The miniature as tables; Japanese is held out."""
    folder = tmp_path_factory.mktemp("tables")
    emoji_tables.main([str(emoji_root), str(folder), "--hold-out", "ja"])
    return folder


def contrastive_flags(source: Path, tables: Path, out: Path, *more: str) -> list[str]:
    given = [str(source), "--data", str(tables / "captions.jsonl"), "--format", "table", "--workers", "0"]
    given += ["--out", str(out), "--batch", "4", "--held-out", "0.4", "--lr", "1e-3", "--device", "cpu"]
    return given + list(more)


def teacher_flags(source: Path, tables: Path, out: Path, *more: str) -> list[str]:
    given = [str(source), "--pairs", str(tables / "parallel.tsv"), "--out", str(out), "--device", "cpu"]
    return [*given, "--batch", "4", "--held-out", "0", *more]


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
