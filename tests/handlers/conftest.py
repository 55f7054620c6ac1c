"""Two tiny towers, exported and laid out as an unpacked MAR, and workers that serve them."""

from __future__ import annotations

import base64
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from handlers.clip_text import TextHandler
from handlers.clip_vision import VisionHandler
from handlers.deadline import Deadline
from handlers.preprocess.reference import decode_image
from tests.handlers.images import encoded, motif
from tests.handlers.slow import Clock
from tests.handlers.worker import Worker
from tests.shared import made_once

SPACE = "0123456789abcdef"
DIM = 8
SIZE = 16
MAX_TOKENS = 12
WORDS = ("a", "red", "heart", "blue", "star", "ein", "rotes", "Herz", "红心", "दिल")
VOCABULARY = ("<s>", "<pad>", "</s>", "<unk>", "notanumber", *WORDS, "poison")
NAN_ID = VOCABULARY.index("notanumber")


class TinyText(torch.nn.Module):
    """Masked mean of embeddings, then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        # "poison", the last word, lies outside the table: torch raises, as with a wrong tokenizer.
        self.embedding = torch.nn.Embedding(len(VOCABULARY) - 1, 16)
        self.projection = torch.nn.Linear(16, DIM)
        with torch.no_grad():
            self.embedding.weight[NAN_ID] = float("nan")

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        weights = mask.unsqueeze(-1).to(torch.float32)
        mean = (self.embedding(ids) * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(self.projection(mean), dim=-1)


class TinyVision(torch.nn.Module):
    """Patches by a convolution, their mean, then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = torch.nn.Conv2d(3, 12, 4, stride=4)
        self.projection = torch.nn.Linear(12, DIM)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        scaled = pixels.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1.0
        places = torch.arange(16, device=pixels.device, dtype=torch.float32) / 16
        patches = torch.relu(self.patches(scaled)).flatten(2) * places
        return torch.nn.functional.normalize(self.projection(patches.mean(2)), dim=-1)


def _meta(tower: str, section: dict[str, object], canary: str, vector: torch.Tensor) -> str:
    meta: dict[str, object] = {"format": 2, "name": "tiny", "tower": tower, "space": SPACE, "dim": DIM}
    meta["programs"] = {form: f"program.{form}" for form in ("pt2", "onnx")}
    meta |= {"logit_scale": 20.0, "dtype": "float32", tower: section}
    row = base64.b64encode(vector.detach().numpy().astype("<f4").tobytes()).decode()
    meta["canary"] = {"input": canary, "vector": row, "min_cosine": 0.99}
    return json.dumps(meta)


def _write_programs(
    folder: Path, tower: torch.nn.Module, inputs: tuple[torch.Tensor, ...], shapes: Any
) -> None:
    torch.export.save(torch.export.export(tower, inputs, dynamic_shapes=shapes), folder / "program.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The exporter's own deprecations.
        torch.onnx.export(
            *(tower, inputs, folder / "program.onnx"),
            dynamic_shapes=shapes,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked MAR of a text tower."""
    return made_once(tmp_path_factory, "tiny-text", _write_text_tower)


def _write_text_tower(folder: Path) -> None:
    torch.manual_seed(0)
    rows, length = torch.export.Dim("rows"), torch.export.Dim("length", min=2, max=MAX_TOKENS)
    ids = torch.ones(3, 7, dtype=torch.int64)
    shapes = ({0: rows, 1: length}, {0: rows, 1: length})
    # Two tensors: torch.export takes one tensor given twice for one input.
    inputs = (ids, torch.ones_like(ids))
    tower = TinyText().eval()
    _write_programs(folder, tower, inputs, shapes)
    vocabulary = {word: index for index, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    section = {"max_tokens": MAX_TOKENS, "pad_id": 1, "buckets": [4, 8, 12]}
    section["unknown_id"] = VOCABULARY.index("<unk>")
    known = torch.tensor([tokenizer.encode("a red heart").ids])
    meta = _meta("text", section, "a red heart", tower(known, torch.ones_like(known))[0])
    (folder / "meta.json").write_text(meta, encoding="utf-8")


@pytest.fixture(scope="session")
def vision_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked MAR of a vision tower."""
    return made_once(tmp_path_factory, "tiny-vision", _write_vision_tower)


def _write_vision_tower(folder: Path) -> None:
    torch.manual_seed(0)
    pixels = torch.zeros(3, SIZE, SIZE, 3, dtype=torch.uint8)
    shapes = ({0: torch.export.Dim("rows")},)
    tower = TinyVision().eval()
    _write_programs(folder, tower, (pixels,), shapes)
    image = encoded(motif())
    known = torch.from_numpy(decode_image(image, size=SIZE, max_pixels=10_000, max_bytes=100_000))
    section = {"size": SIZE, "resize": "bicubic", "reduction": 1.25}
    meta = _meta("vision", section, base64.b64encode(image).decode(), tower(known[None])[0])
    (folder / "meta.json").write_text(meta, encoding="utf-8")


LIMITS: dict[str, Any] = {
    "max_items": 16,
    "max_batch": 4,
    "max_text_bytes": 200,
    "decode_threads": 2,
    "threads": 1,
}
# What a worker does must not depend on whether this machine's CPU has native bfloat16.
LIMITS |= {"dtype": "float32"}


@pytest.fixture(scope="session")
def text(text_folder: Path) -> Worker:
    """A worker of the text tower."""
    return Worker(TextHandler, text_folder, dict(LIMITS))


@pytest.fixture(scope="session")
def vision(vision_folder: Path) -> Worker:
    """A worker of the vision tower."""
    limits = {**LIMITS, "max_image_bytes": 50_000, "max_pixels": 1_000_000}
    return Worker(VisionHandler, vision_folder, limits)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, text: Worker, vision: Worker) -> Clock:
    """The clock of both towers, with 36 seconds for a batch."""
    clock = Clock()
    for worker in (text, vision):
        monkeypatch.setattr(worker.handler, "clock", clock)
        monkeypatch.setattr(worker.handler, "_ended", None)
        monkeypatch.setattr(worker.handler, "deadline", Deadline(60, clock))
    return clock
