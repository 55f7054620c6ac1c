"""Heads on the packages' models, exported: both forms pass the gate, and workers serve the same vectors."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import demo_subjects
import numpy as np
import pytest
import torch
import yaml

from export import golden
from export.options import Options
from export.pipeline import export
from handlers.clip_text import TextHandler
from handlers.clip_vision import VisionHandler
from models.loaders import registry
from serving.sources import store_of
from tests import guides
from tests.handlers.worker import Worker, http
from tests.models import backbones
from tests.places import PHOTOS, REPOSITORY
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


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What `scripts/demo` prints, and the store that it has served."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "scripts/demo.py", "--run-dir", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "answers.png").stat().st_size > 100_000
    return done.stdout, store_of(str(PHOTOS), list(demo_subjects.photographs().export))


def test_the_demonstration_asks_photographs(demonstrated: tuple[str, Path]) -> None:
    """Protects what a newcomer runs first, and the size of the archives that it serves."""
    printed, store = demonstrated
    *_, result, last = printed.splitlines()
    assert last == "demo: OK"
    assert json.loads(result.removeprefix("result: "))["first"] >= 0.65
    assert "of 40 questions answered by the first of 51 photographs" in printed
    assert sum(path.stat().st_size for path in store.glob("photos-*.mar")) < 150e6


def test_the_archives_answer_in_this_process(
    demonstrated: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the commands that the README has for a folder of photographs, as they stand there."""
    url = f"mar:{demonstrated[1]}"
    section = (
        (REPOSITORY / "README.md").read_text(encoding="utf-8").split("## Search a folder of photographs\n")[1]
    )
    code = re.findall(r"```(bash|python)\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    assert [language for language, _ in code] == ["bash", "python"]
    here = {"mar:model_store": url, ".run/vectors": str(tmp_path / "vectors")}
    for language, block in code:
        for written, actual in here.items():
            block = block.replace(written, actual)
        printed = guides.run_block(language, block, REPOSITORY, monkeypatch)
        assert ("coffee.jpg" if language == "bash" else "000000107438.jpg") in printed


def test_an_archive_answers_the_questions(
    demonstrated: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects the command that counts right answers, asked of archives."""
    questions.main(["--url", f"mar:{demonstrated[1]}"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1].removeprefix("result: "))
    assert found["share"] >= 0.65
