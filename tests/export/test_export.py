import base64
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from export import manifest, parity, programs
from export.options import Options
from export.pipeline import export
from models import checkpoint
from tests import miniature
from tests.places import REPOSITORY

pytestmark = pytest.mark.slow  # exports


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory, words) -> Path:
    folder = tmp_path_factory.mktemp("source") / "test"
    checkpoint.save(folder, miniature.make_model(words), words, languages=["en"], training={})
    return folder


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    target = tmp_path_factory.mktemp("store")
    export(source, target, Options(version="2.0"))
    return target


def test_archives_hold_all_that_serving_needs(store: Path, source: Path) -> None:
    """Protects archives from depending on this repository."""
    space = checkpoint.read_meta(source)["space"]
    for tower in ("text", "vision"):
        with zipfile.ZipFile(store / f"test-{tower}.mar") as mar:
            names = set(mar.namelist())
            meta = json.loads(mar.read("meta.json"))
            described = json.loads(mar.read("MAR-INF/MANIFEST.json"))["model"]
        assert {
            "program.pt2",
            "program.onnx",
            "program.onnx.data",
            "meta.json",
            "model-config.yaml",
            "handlers/base.py",
            f"clip_{tower}.py",
        } <= names
        assert ("tokenizer.json" in names) == (tower == "text")
        assert not any("__pycache__" in name for name in names)
        assert (meta["tower"], meta["space"]) == (tower, space)
        assert (described["modelVersion"], described["handler"]) == ("2.0", f"clip_{tower}.py")


def test_the_onnx_form_gives_the_checkpoints_vectors(store: Path, source: Path) -> None:
    """Protects users of plain onnxruntime, with batches and lengths that the export did not see."""
    loaded = checkpoint.load(source)
    pixels = torch.randint(0, 256, (5, 32, 32, 3), dtype=torch.uint8)
    ids = torch.randint(4, 30, (4, 11))
    with torch.no_grad():
        for tower, arrays in (("vision", (pixels,)), ("text", (ids, torch.ones_like(ids)))):
            found = programs.load(store / "test" / tower / "program.onnx")(*arrays)
            torch.testing.assert_close(found, getattr(loaded.model, tower)(*arrays), atol=1e-4, rtol=0)


def test_the_manifest_names_the_archives_and_their_self_tests(store: Path, source: Path) -> None:
    """Protects readiness: the self-tests' vectors must be those of the checkpoint."""
    [entry] = manifest.read(store / "manifest.json")["spaces"]
    assert entry["default"]
    assert entry["version"] == "2.0"
    for tower in ("text", "vision"):
        vector = np.frombuffer(base64.b64decode(entry["canary"][tower]["vector"]), "<f4")
        assert vector.shape == (16,)
        assert abs(np.linalg.norm(vector) - 1) < 1e-5


def test_an_export_is_current_until_a_source_changes(store: Path, source: Path) -> None:
    """Protects --if-needed from serving archives of another checkpoint, version or damaged file."""
    made_from = manifest.sources(source, Options(version="2.0"))
    assert manifest.is_current(store, made_from)
    assert not manifest.is_current(store, manifest.sources(source, Options(version="2.1")))
    mar = store / "test-text.mar"
    whole = mar.read_bytes()
    mar.write_bytes(whole[:-1])
    assert not manifest.is_current(store, made_from)
    mar.write_bytes(whole)


def test_one_version_belongs_to_one_space(store: Path) -> None:
    """Protects two models from being registered under one version."""
    with pytest.raises(manifest.ManifestError, match="taken by test"):
        manifest.check_version(store, "another", "2.0")


def test_a_failed_gate_leaves_the_store_untouched(
    store: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the store: a tower that fails is not written, and neither is the other."""
    monkeypatch.setitem(parity.MIN_COSINE, "float32", 1.1)
    with pytest.raises(parity.ParityError, match=r"vision\.pt2"):
        export(source, tmp_path / "store", Options())
    assert list((tmp_path / "store").iterdir()) == []


def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    """Protects whoever exports the wrong folder from a stack trace."""
    command = [sys.executable, "-m", "export", str(tmp_path), "--store", str(tmp_path / "store")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip() == f"export: {tmp_path} is no checkpoint: it has no meta.json"


@pytest.fixture(scope="session")
def lean_store(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    target = tmp_path_factory.mktemp("lean")
    export(source, target, Options(dtype="bfloat16", forms=("onnx",), low_memory=True))
    return target


def start_like_torchserve(archive: Path, folder: Path, program: str) -> None:
    """Run a program as TorchServe runs a worker, with the unpacked archive on PYTHONPATH; it must succeed."""
    with zipfile.ZipFile(archive) as mar:
        mar.extractall(folder / "mar")
    (folder / "other").mkdir()
    (folder / "other" / "sitecustomize.py").write_text("import sys\nsys.read_too = True\n")
    path = os.pathsep.join(str(folder / name) for name in ("mar", "other"))
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_lean_text_worker_starts_without_torch(lean_store: Path, tmp_path: Path) -> None:
    """TorchServe gets a stand-in for torch, which gives way to the handlers; torch stays importable."""
    program = """
import sys
import ts.model_service_worker
assert not hasattr(sys.modules["torch"], "cuda"), "TorchServe imported torch itself"
import clip_text
from handlers.runtime import device, runtimes
import onnxruntime
assert "torch" not in sys.modules
assert sys.read_too
import torch
assert torch.ones(2).sum() == 2
"""
    start_like_torchserve(lean_store / "test-text.mar", tmp_path, program)


def test_a_plain_archive_has_nothing_in_place_of_torch(store: Path, lean_store: Path, tmp_path: Path) -> None:
    """What changes the meaning of `import torch` in a worker is there only for who asked for it."""
    with_it = []
    for archive in (*store.glob("*.mar"), *lean_store.glob("*.mar")):
        with zipfile.ZipFile(archive) as mar:
            sources = [name for name in mar.namelist() if name.endswith(".py")]
            if any(b'stand-in"' in mar.read(name) or "sitecustomize" in name for name in sources):
                with_it.append(archive)
    assert with_it == [lean_store / "test-text.mar"]
    program = """
import sys
import ts.model_service_worker
assert sys.modules["torch"].cuda
import clip_text
assert sys.modules["torch"].cuda
assert sys.read_too
"""
    start_like_torchserve(store / "test-text.mar", tmp_path, program)
