"""Hugging Face's dual encoders: a broken folder is refused in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.systems import families
from training import sources
from training.checkpoint import CheckpointError

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


def spoil_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def spoil_json(name: str, **values: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return spoil


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_weights(lambda s: s.pop("text_projection.weight")), "missing text_projection.weight"),
        (spoil_weights(lambda s: s.update(extra=torch.zeros(1))), "unexpected extra"),
        (
            spoil_weights(lambda s: s.update({"text_projection.weight": torch.zeros(DIM, 5)})),
            "text_projection.weight has the shape [16, 5] where [16, 32] is due",
        ),
        (truncate, "its weights cannot be read"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is no JSON"),
        (spoil_json("config.json", model_type="bert"), "model_type 'bert' is not known"),
        (spoil_json("preprocessor_config.json", resample=2), "resample 2 is not served"),
        (spoil_json("preprocessor_config.json", size={"height": 32, "width": 32}), "shortest side of 32"),
        (spoil_json("preprocessor_config.json", image_std=[1, 1]), "must be three numbers"),
    ],
)
def test_a_broken_folder_is_refused_in_one_line(
    source: Path, spoil: Callable[[Path], object], says: str
) -> None:
    """The message names the file and what is wrong with it; nothing is guessed or left at random."""
    spoil(source)
    with pytest.raises(CheckpointError) as caught:
        sources.load(source)
    assert says in str(caught.value)
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_as_a_pickle_of_tensors_are_read_and_others_are_not(source: Path, tmp_path: Path) -> None:
    """pytorch_model.bin is loaded without running what a pickle may hold."""
    state = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    torch.save(state, source / "pytorch_model.bin")
    assert sources.load(source).meta["dim"] == DIM
    torch.save({**state, "trap": Path("x")}, source / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be read"):
        sources.load(source)
