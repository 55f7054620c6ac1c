"""The public systems in small: from their own files through the archives to their library's vectors."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from export import golden
from export.__main__ import main
from export.options import Options
from export.pipeline import export
from handlers.clip_text import TextHandler
from handlers.clip_vision import VisionHandler
from models.checkpoint import CheckpointError
from models.loaders import registry
from tests.handlers.worker import Worker, http
from tests.shared import mini_store
from tests.systems import families
from tests.systems import registry as catalogue
from tests.systems.spoilers import spoilers

pytestmark = pytest.mark.slow  # exports

PROTOBUF = "application/x-protobuf"
# In small LAION's two are the same, and the smallest Perception Encoder, of 384 pixels, takes minutes.
SMALL_FAMILIES = [name for name in catalogue.FAMILIES if name not in ("laion-large", "pe-core")]


@pytest.fixture(scope="module")
def laion(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, families.Reference]:
    """A small model of open_clip's and what open_clip makes of it."""
    folder = tmp_path_factory.mktemp("laion") / "laion"
    return folder, families.laion_base(folder, true=False)


def vectors(
    store: Path, name: str, tower: str, tmp_path: Path, dtype: str = "auto"
) -> list[NDArray[np.float32]]:
    """What a worker behind TorchServe's own message code makes of TEXTS, or of the pictures."""
    folder = tmp_path / tower
    with zipfile.ZipFile(store / f"{name}-{tower}.mar") as packed:
        packed.extractall(folder)
    settings = yaml.safe_load((folder / "model-config.yaml").read_text())["babelclip"] | {
        "threads": 1,
        "dtype": dtype,
    }
    if tower == "text":
        worker = Worker(TextHandler, folder, settings)
        calls = [http(text.encode(), "text/plain", Accept=PROTOBUF) for text in families.TEXTS]
    else:
        worker = Worker(VisionHandler, folder, settings)
        calls = [http(image, "image/png", Accept=PROTOBUF) for image in families.pictures()]
    return [np.frombuffer(reply.message.vectors, dtype="<f4") for reply in worker.send(*calls)]


def cosines(
    store: Path, name: str, reference: families.Reference, tmp_path: Path, dtype: str = "auto"
) -> dict[str, float]:
    """The smallest cosine of each tower with what the library gave."""
    rows = {"text": reference.texts, "vision": reference.images}
    return {t: families.nearest(rows[t], vectors(store, name, t, tmp_path, dtype)) for t in rows}


@pytest.mark.parametrize("family", SMALL_FAMILIES)
def test_each_is_served_to_the_librarys_vectors(family: str, tmp_path: Path) -> None:
    """From a system's own files through both archives to cosines of 0.9999 with its library's vectors."""
    source, store = tmp_path / family, tmp_path / "store"
    reference = catalogue.FAMILIES[family](source, true=False)
    # Different inputs have different vectors, or a cosine would say nothing.
    for rows in (reference.texts, reference.images):
        assert np.median((rows @ rows.T)[np.triu_indices(len(rows), 1)]) < 0.995
    result = export(source, store, Options(forms=("onnx",)))
    assert result["space"] == registry.space_of(source)
    found = cosines(store, family, reference, tmp_path, dtype="float32")
    assert min(found.values()) >= 0.9999, found


@pytest.mark.parametrize(("dtype", "least", "share"), [("bfloat16", 0.995, 0.7), ("int8", 0.99, 0.4)])
def test_each_dtype_keeps_its_promise(
    laion: tuple[Path, families.Reference], dtype: str, least: float, share: float, tmp_path: Path
) -> None:
    """Weights stored in fewer bits give vectors within that dtype's gate, and a smaller archive."""
    source, reference = laion
    forms = ("onnx",) if dtype == "int8" else ("pt2", "onnx")
    export(source, tmp_path / "store", Options(dtype=dtype, forms=forms))
    found = cosines(tmp_path / "store", "laion", reference, tmp_path)
    assert min(found.values()) >= least, found
    stored = (tmp_path / "text" / "program.onnx.data").stat().st_size
    weights = 42_000 * 32 * 4
    assert stored < share * weights
    meta = json.loads((tmp_path / "text" / "meta.json").read_text())
    assert meta["dtype"] == dtype


LEAN = Options(
    dtype="bfloat16",
    forms=("onnx",),
    languages=("en", "de", "ja", "ar"),
    trim_vocab=True,
    low_memory=True,
)


@pytest.fixture(scope="module")
def lean(tmp_path_factory: pytest.TempPathFactory, laion: tuple[Path, families.Reference]) -> Path:
    """A store of it for little memory, without the tokens of other languages."""
    store = tmp_path_factory.mktemp("lean") / "store"
    export(laion[0], store, LEAN)
    return store


def test_a_trimmed_low_memory_tower_keeps_the_vectors_of_its_languages(
    laion: tuple[Path, families.Reference], lean: Path, tmp_path: Path
) -> None:
    """Without the tokens of other languages, and with weights widened in each pass, no vector changes."""
    source, reference = laion
    report = json.loads((lean / "laion" / "parity.json").read_text())
    assert 4 < report["vocabulary"]["kept"] < report["vocabulary"]["all"] == 42_000
    page = (lean / "laion" / "parity.md").read_text()
    assert f"{report['vocabulary']['kept']:,} of 42,000 tokens" in page
    served = vectors(lean, "laion", "text", tmp_path)
    config = yaml.safe_load((tmp_path / "text" / "model-config.yaml").read_text())["babelclip"]
    assert config["runtime"] == "onnxruntime", "the other runtimes widen all weights, on CPUs with bfloat16"
    chosen = set(golden.texts(LEAN.languages).values())
    kept = [i for i, text in enumerate(families.TEXTS) if text in chosen]
    assert len(kept) >= 6
    assert families.nearest(reference.texts[kept], [served[i] for i in kept]) >= 0.995
    meta = json.loads((tmp_path / "text" / "meta.json").read_text())
    assert (meta["languages"], meta["space"]) == (list(LEAN.languages), registry.space_of(source))
    # A text in a script that is gone is embedded too, from <unk>, far from where it was.
    hindi = families.TEXTS.index(golden.TEXTS["hi"])
    assert (served[hindi] * reference.texts[hindi]).sum() < 0.99


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


def test_a_lean_text_worker_starts_without_torch(lean: Path, tmp_path: Path) -> None:
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
    start_like_torchserve(lean / "laion-text.mar", tmp_path, program)


def test_a_plain_archive_has_nothing_in_place_of_torch(
    lean: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What changes the meaning of `import torch` in a worker is there only for who asked for it."""
    store = mini_store(tmp_path_factory)
    with_it = []
    for archive in (*store.glob("*.mar"), *lean.glob("*.mar")):
        with zipfile.ZipFile(archive) as mar:
            sources = [name for name in mar.namelist() if name.endswith(".py")]
            if any(b'stand-in"' in mar.read(name) or "sitecustomize" in name for name in sources):
                with_it.append(archive)
    assert with_it == [lean / "laion-text.mar"]
    program = """
import sys
import ts.model_service_worker
assert sys.modules["torch"].cuda
import clip_text
assert sys.modules["torch"].cuda
assert sys.read_too
"""
    start_like_torchserve(store / "mini-text.mar", tmp_path, program)


@pytest.mark.parametrize("damage", sorted(spoilers("own")))
def test_a_damaged_checkpoint_is_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    """Our own files are checked as strictly as others', and the message names what is wrong."""
    families.own(tmp_path / "own", true=False)
    named = spoilers("own")[damage](tmp_path / "own")
    with pytest.raises(CheckpointError) as caught:
        registry.load(tmp_path / "own")
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--dtype", "int8", "--programs", "pt2"], "int8 weights exist as onnx alone"),
        (["--trim-vocab"], "name the languages to keep with --languages"),
        (["--lean"], "--lean is for ONNX programs whose weights are stored as bfloat16 or int8"),
        (["--target", "triton", "--if-needed"], "not for --target triton"),
        (["--languages", "en,tlh", "--trim-vocab"], "tlh"),
        (["--architecture", "nonsense"], "no architecture 'nonsense'"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_a_sentence(
    laion: tuple[Path, families.Reference],
    options: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command says what is wrong with what was asked, and leaves no trace in the store."""
    monkeypatch.setattr(sys, "argv", ["export", str(laion[0]), "--store", str(tmp_path / "store"), *options])
    with pytest.raises(SystemExit) as ended:
        main()
    # argparse writes its last line itself; what sys.exit is given is written by the interpreter.
    last = ended.value.code if isinstance(ended.value.code, str) else capsys.readouterr().err.splitlines()[-1]
    assert says in last
    assert not list((tmp_path / "store").glob("*"))
