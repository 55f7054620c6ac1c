"""One export and one server for all end-to-end tests; a test that stops or breaks a server starts its own."""

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from export.__main__ import main as export
from models import checkpoint
from models.modules import BabelCLIP
from tests.e2e.support import Server, launched
from tests.places import MINI, REPOSITORY
from tests.shared import made_once, mini_store


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder `e2e`, so that `-m "not e2e"` leaves it out, and let it run last."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in here:
        item.add_marker("e2e")
    items.sort(key=here.__contains__)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with the archives of the committed checkpoint, made by the export a user runs."""
    return mini_store(tmp_path_factory)


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of another space, by the command in docs/operating.md: the same model with other weights."""
    return made_once(tmp_path_factory, "new-store", export_other_weights) / "store"


def export_other_weights(folder: Path) -> None:
    """Write the checkpoint into `folder`/other, and its archives into `folder`/store."""
    loaded = checkpoint.load(MINI)
    torch.manual_seed(0)
    with torch.no_grad():
        for weights in loaded.model.parameters():
            weights.add_(0.1 * weights.std(correction=0) * torch.randn_like(weights))
    meta = loaded.meta
    assert isinstance(loaded.model, BabelCLIP)
    checkpoint.save(
        folder / "other", loaded.model, loaded.tokenizer, languages=meta["languages"], training={}
    )
    text = (REPOSITORY / "docs" / "operating.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^\.venv/bin/python -m export (.*)$", text, re.MULTILINE)
    here = {str(MINI.relative_to(REPOSITORY)): folder / "other", "new_store": folder / "store"}
    # One form of the programs is enough here, and sooner made.
    words = [str(here.get(word, word)) for word in command.split()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["export", *words, "--programs", "onnx"])
        export()


@pytest.fixture(scope="session")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A ready server on free ports.

    It computes in float32: in bfloat16 a vector differs by a rounding from one batch to the next.
    """
    run = tmp_path_factory.mktemp("run")
    ports = ("--ports", "auto", "--queue-metrics-port", "0")
    patch = pytest.MonkeyPatch()
    patch.setenv("BABELCLIP_DTYPE", "float32")
    with launched("--store", store, "--run-dir", run, *ports) as launcher:
        patch.undo()  # Only the server is to inherit it.
        yield launcher.wait_ready()


@pytest.fixture
def unharmed(server: Server) -> Iterator[None]:
    """Fail a test that cost a worker: the processes after it must be those from before."""
    before = server.worker_pids()
    yield
    assert server.worker_pids() == before


@pytest.fixture(scope="session")
def images() -> list[bytes]:
    """Three images that look different, as JPEG, PNG and WebP."""
    encoded = []
    for colour, shape, form in (
        ("red", "ellipse", "JPEG"),
        ("blue", "rectangle", "PNG"),
        ("green", "arc", "WEBP"),
    ):
        image = Image.new("RGB", (320, 240), "white")
        draw = ImageDraw.Draw(image)
        if shape == "arc":
            draw.arc((40, 20, 280, 220), 0, 270, fill=colour, width=30)
        else:
            getattr(draw, shape)((60, 40, 260, 200), fill=colour)
        buffer = io.BytesIO()
        image.save(buffer, form)
        encoded.append(buffer.getvalue())
    return encoded


@pytest.fixture(scope="session")
def photograph() -> bytes:
    """A JPEG with texture all over, so that cutting it short loses pixels."""
    noise = np.random.default_rng(7).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
