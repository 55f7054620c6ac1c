"""Hugging Face's dual encoders: a broken folder is refused in one line."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.checkpoint import CheckpointError
from models.loaders import registry
from tests.broken import assert_refused_in_one_line, spoil_json, spoil_weights
from tests.systems import families

WEIGHTS = "model.safetensors"
DIM = 16


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "tiny"
    families.dual_encoder(folder, true=False)
    return folder


@pytest.fixture
def source(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(made, tmp_path / "tiny"))


def truncate(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            spoil_weights(WEIGHTS, lambda s: s.pop("text_projection.weight")),
            "missing text_projection.weight",
        ),
        (spoil_weights(WEIGHTS, lambda s: s.update(extra=torch.zeros(1))), "unexpected extra"),
        (
            spoil_weights(WEIGHTS, lambda s: s.update({"text_projection.weight": torch.zeros(DIM, 5)})),
            "text_projection.weight has the shape [16, 5] where [16, 32] is due",
        ),
        (truncate, "its weights cannot be read"),
        (lambda folder: (folder / WEIGHTS).unlink(), "no weights"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is no JSON"),
        (spoil_json("config.json", model_type="bert"), "model_type 'bert' is not known"),
        (
            spoil_json("preprocessor_config.json", resample=2),
            "it asks for size {'shortest_edge': 32}, resample 2",
        ),
        (spoil_json("preprocessor_config.json", size={"shortest_edge": 40}), "shortest side of 32"),
        (spoil_json("preprocessor_config.json", size={"height": 32, "width": 48}), "squashed into 32 × 32"),
        (spoil_json("preprocessor_config.json", size="large"), "size"),
        (spoil_json("preprocessor_config.json", do_center_crop=False), "no crop"),
        (spoil_json("preprocessor_config.json", do_resize=False), "do_resize false"),
        (spoil_json("preprocessor_config.json", do_normalize=False), "do_normalize False"),
        (spoil_json("preprocessor_config.json", rescale_factor=1 / 127.5), "rescaled by 1/255"),
        (
            spoil_json("preprocessor_config.json", image_processor_type="BitImageProcessor"),
            "is not known; known",
        ),
        (
            lambda folder: (folder / "preprocessor_config.json").unlink(),
            "preprocessor_config.json is missing",
        ),
        (spoil_json("preprocessor_config.json", image_std=[1, 1]), "must be three numbers"),
    ],
)
def test_a_broken_folder_is_refused_in_one_line(
    source: Path, spoil: Callable[[Path], object], says: str
) -> None:
    """The message names the file and what is wrong with it; nothing is guessed or left at random."""
    spoil(source)
    assert_refused_in_one_line(source, says)


def test_weights_as_a_pickle_of_tensors_are_read_and_others_are_not(source: Path, tmp_path: Path) -> None:
    """pytorch_model.bin is loaded without running what a pickle may hold."""
    state = load_file(source / WEIGHTS)
    (source / WEIGHTS).unlink()
    torch.save(state, source / "pytorch_model.bin")
    assert registry.load(source).meta["dim"] == DIM
    torch.save({**state, "trap": Path("x")}, source / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be read"):
        registry.load(source)
