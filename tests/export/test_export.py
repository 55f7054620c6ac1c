import base64
import json
import shutil
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
from tests.places import REPOSITORY

pytestmark = pytest.mark.slow  # exports


@pytest.fixture(scope="module")
def source(miniature: Path) -> Path:
    """The checkpoint that was exported."""
    return miniature / "test"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, miniature: Path) -> Path:
    """What the export wrote, which a test may change."""
    return shutil.copytree(miniature / "store", tmp_path_factory.mktemp("export") / "store")


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
        export(source, tmp_path / "store", Options(forms=("pt2",)))
    assert list((tmp_path / "store").iterdir()) == []


def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    """Protects whoever exports the wrong folder from a stack trace."""
    command = [sys.executable, "-m", "export", str(tmp_path), "--store", str(tmp_path / "store")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip() == f"export: {tmp_path} is no checkpoint: it has no meta.json"
