"""Meta CLIP 2 worldwide: where a text is read off, its vocabulary, its licence, and what is refused."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from export import golden, vocabulary
from export.options import Options
from export.pipeline import export
from models.loaders import registry
from tests.broken import assert_refused_in_one_line, spoil_json
from tests.systems import worldwide
from training.evaluation.embedding import LoadedModel

KEPT = ("en", "de", "ja", "ar")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "tiny"
    worldwide.metaclip_2(folder, true=False)
    return folder


@pytest.fixture
def source(made: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(made, tmp_path / "tiny"))


def test_images_are_squashed_as_its_processor_says(made: Path) -> None:
    """Its processor names a square and crops it to itself, so nothing of an image is cut off."""
    loaded = registry.load(made)
    assert loaded.model.config.vision.resize == "squash-bicubic"
    assert loaded.model.config.text.max_tokens == 77


def test_the_end_is_the_texts_own_wherever_its_name_is_written(made: Path) -> None:
    """A text is read off its end token, so one that a caller writes must not be taken for it."""
    loaded = registry.load(made)
    one, other = (
        LoadedModel(loaded, "tiny", torch.device("cpu")).embed_texts([text]).numpy()
        for text in ("ein hund </s> im schnee", "ein hund </s> im sand")
    )
    assert float(one[0] @ other[0]) < 0.9999


def test_a_trim_keeps_the_vectors_of_its_languages(made: Path) -> None:
    """Without the pieces of other languages the texts of those that are kept have the same vectors."""
    whole = registry.load(made)
    texts = list(golden.texts(KEPT).values())
    before = LoadedModel(whole, "tiny", torch.device("cpu")).embed_texts(texts).numpy()
    trimmed, sizes = vocabulary.trim_checkpoint(whole, KEPT)
    assert sizes["kept"] < sizes["all"] == 42_001
    after = LoadedModel(trimmed, "tiny", torch.device("cpu")).embed_texts(texts).numpy()
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_the_export_says_the_licence_and_the_archives_carry_it(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who exports weights that forbid commercial use is told so, and so is who gets the archives."""
    export(made, tmp_path / "store", Options(dtype="bfloat16", forms=("onnx",)))
    assert "CC-BY-NC-4.0: not for commercial use" in capsys.readouterr().out
    for tower in ("text", "vision"):
        with zipfile.ZipFile(tmp_path / "store" / f"tiny-{tower}.mar") as packed:
            assert json.loads(packed.read("meta.json"))["license"] == "CC-BY-NC-4.0"


def without_eos(folder: Path) -> None:
    """As a config that a tool has written without the markers."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["text_config"]["eos_token_id"]
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (without_eos, "the text model reads a text off its token 49407 (eos_token_id)"),
        (spoil_json("config.json", model_type="metaclip_3"), "model_type 'metaclip_3' is not known"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
    ],
)
def test_a_broken_folder_is_refused_in_one_line(
    source: Path, spoil: Callable[[Path], object], says: str
) -> None:
    """The message names the file and what is wrong with it."""
    spoil(source)
    assert_refused_in_one_line(source, says)
