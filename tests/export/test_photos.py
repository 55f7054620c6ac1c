"""Heads on the packages' models, exported: both forms pass the gate, and workers serve the same vectors."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from babelclip.cli.main import app
from export import golden
from export.options import Options
from export.pipeline import export
from handlers.clip_text import TextHandler
from handlers.clip_vision import VisionHandler
from models.loaders import registry
from tests.handlers.worker import Worker, http
from tests.models import backbones
from tests.places import PHOTOS
from tests.shared import run_export
from training.datasets.decoding import decode
from training.recipes.photos import questions

pytestmark = pytest.mark.slow  # exports


def served_by(store: Path, tower: str, handler: Any, calls: list[Any]) -> torch.Tensor:
    """What a worker behind TorchServe's own message code answers, float32 [N, dim]."""
    folder = store / f"unpacked-{tower}"
    with zipfile.ZipFile(store / f"photos-{tower}.mar") as packed:
        packed.extractall(folder)
    settings = yaml.safe_load((folder / "model-config.yaml").read_text())["babelclip"]
    worker = Worker(handler, folder, settings | {"threads": 1, "dtype": "float32"})
    rows = [np.frombuffer(reply.message.vectors, dtype="<f4") for reply in worker.send(*calls)]
    return torch.from_numpy(np.stack(rows))


def test_both_towers_are_exported_and_served(tmp_path: Path) -> None:
    """Protects the way from two packages to a service: both forms, the gate, and a worker's answers."""
    source, store = tmp_path / "photos", tmp_path / "store"
    backbones.write_heads(source)
    result = export(source, store, Options(forms=("pt2", "onnx")))
    assert result["min_cosine"] >= 0.9999
    loaded = registry.load(source)
    texts = ["ein Hund", "Hund kat", "a:k"]
    pictures = [golden.images()[f"picture-{number}"] for number in range(2)]
    pixels = torch.from_numpy(np.stack([decode(data, size=224) for data in pictures]))
    with torch.inference_mode():
        rows = [torch.tensor([loaded.tokenizer.encode(text).ids]) for text in texts]
        due = torch.cat([loaded.model.text(row, torch.ones_like(row)) for row in rows])
        seen = loaded.model.vision(pixels)
    binary = {"Accept": "application/x-protobuf"}
    calls = [http(text.encode(), "text/plain", **binary) for text in texts]
    torch.testing.assert_close(served_by(store, "text", TextHandler, calls), due, atol=1e-4, rtol=0)
    calls = [http(data, "image/png", **binary) for data in pictures]
    torch.testing.assert_close(served_by(store, "vision", VisionHandler, calls), seen, atol=1e-3, rtol=0)


def test_the_committed_heads_are_served_small_and_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the documented commands: archives of the size that is told, and photographs for questions."""
    run_export(PHOTOS, "--store", tmp_path, "--dtype", "int8", "--lean")
    assert all(path.stat().st_size < 240e6 for path in tmp_path.glob("photos-*.mar"))
    url = f"mar:{tmp_path}"
    questions.main(["--url", url])
    found = json.loads(capsys.readouterr().out.splitlines()[-1].removeprefix("result: "))
    assert found["share"] >= 0.65
    done = CliRunner().invoke(app, ["search", str(questions.SAMPLES), "кофе", "--top", "1", "--url", url])
    assert done.exit_code == 0, done.output
    assert "coffee.jpg" in done.output
