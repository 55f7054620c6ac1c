"""open_clip's files: a folder, a single file of weights, and what is said of broken ones."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import XLMRobertaConfig

from models.checkpoint import CheckpointError
from models.loaders import open_clip, registry
from tests.broken import assert_refused_in_one_line, spoil_weights
from tests.systems import families

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("open-clip") / "tiny"
    families.laion_base(folder, true=False)
    return folder


@pytest.fixture
def source(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(made, tmp_path / "tiny"))


def spoil_config(part: str, **values: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / open_clip.CONFIG
        config = json.loads(path.read_text())
        places = {"": config, **config, **config["model_cfg"]}
        places[part].update(values)
        path.write_text(json.dumps(config))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_weights(WEIGHTS, lambda s: s.pop("text.proj.2.weight")), "missing text.proj.2.weight"),
        (spoil_weights(WEIGHTS, lambda s: s.update(extra=torch.zeros(1))), "unexpected extra"),
        (
            spoil_weights(WEIGHTS, lambda s: s.update({"text.proj.2.weight": torch.zeros(3, 5)})),
            "text.proj.2.weight has the shape [3, 5] where [16, 24] is due",
        ),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"\x00" * 40), "its weights cannot be read"),
        (lambda folder: (folder / WEIGHTS).unlink(), "no weights"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda folder: (folder / open_clip.CONFIG).write_text("[]"), "must hold names and values"),
        (spoil_config("", model_cfg=3), "must have a model_cfg"),
        (spoil_config("", model_cfg={"embed_dim": 16}), "has no vision_cfg"),
        (spoil_config("text_cfg", hf_model_name="bert-base"), "the text model 'bert-base' is not known here"),
        (spoil_config("text_cfg", hf_pooler_type="max_pooler"), "the pooler 'max_pooler' is not known"),
        (spoil_config("vision_cfg", colour="red"), "open_clip cannot build its model"),
        (spoil_config("vision_cfg", image_size=[32, 64]), "image_size [32, 64] is not served"),
        (spoil_config("preprocess_cfg", interpolation="lanczos"), "interpolation 'lanczos' is not served"),
        (spoil_config("preprocess_cfg", resize_mode="stretch"), "resize_mode 'stretch' is not served"),
        (spoil_config("preprocess_cfg", std=[1, 1]), "std must be three numbers"),
    ],
)
def test_a_broken_folder_is_refused_in_one_line(
    source: Path, spoil: Callable[[Path], object], says: str
) -> None:
    """The message names the place and what is wrong with it; nothing is guessed or left at random."""
    spoil(source)
    assert_refused_in_one_line(source, says)


def test_old_keys_and_names_are_understood(source: Path) -> None:
    """Checkpoints of 2022 hold a buffer that is not needed, and name pooler and projection differently."""
    spoil_weights(
        WEIGHTS, lambda s: s.update({"text.transformer.embeddings.position_ids": torch.arange(514)[None]})
    )(source)
    path = source / open_clip.CONFIG
    config = json.loads(path.read_text())
    text = config["model_cfg"]["text_cfg"]
    text |= {"pooler_type": text.pop("hf_pooler_type"), "proj": "mlp"}
    path.write_text(json.dumps(config))
    assert registry.load(source).meta["dim"] == 16


@pytest.mark.parametrize("legacy", [False, True])
def test_a_training_checkpoint_needs_no_config_beside_it(
    source: Path, legacy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """epoch_N.pt with its optimiser and DDP's prefix loads by open_clip's name of the architecture."""
    config = json.loads((source / open_clip.CONFIG).read_text())["model_cfg"]
    monkeypatch.setattr(open_clip.package(), "get_model_config", {"tiny": config}.get)
    state = {f"module.{key}": value for key, value in load_file(source / WEIGHTS).items()}
    file = source / "epoch_3.pt"
    # A cosine schedule leaves a number of numpy's.
    optimizer = {"state": {}, "param_groups": [{"lr": np.float64(0.1), "params": [0]}]}
    torch.save(
        {"epoch": np.int64(3), "name": "run", "state_dict": state, "optimizer": optimizer},
        file,
        _use_new_zipfile_serialization=not legacy,
    )
    (source / open_clip.CONFIG).unlink()
    with pytest.raises(CheckpointError, match=r"open_clip_config\.json is missing"):
        registry.load(file)
    loaded = registry.load(file, "tiny")
    assert loaded.meta["space"] == registry.space_of(file, "tiny")
    expected = load_file(source / WEIGHTS)["text.proj.2.weight"]
    assert torch.equal(loaded.model.text.get_parameter("projection.2.weight"), expected)
    with pytest.raises(CheckpointError, match="no architecture 'unknown'"):
        registry.load(file, "unknown")


def test_a_pickle_that_holds_more_than_tensors_is_refused(source: Path) -> None:
    """A .pt from elsewhere must not run code; what it holds beside tensors is not unpickled."""
    torch.save({"state_dict": {"trap": Path("x")}}, source / "epoch_1.pt")
    with pytest.raises(CheckpointError, match=r"cannot be read: it holds pathlib\.PosixPath"):
        registry.load(source / "epoch_1.pt")


@pytest.mark.parametrize("name", open_clip.TEXT_MODELS)
def test_the_known_text_models_are_those_of_the_published_configs(name: str) -> None:
    """The shapes that open_clip's own configs expect, so that the public weights fit."""
    config = XLMRobertaConfig(**open_clip.TEXT_MODELS[name])
    width = {"xlm-roberta-base": (768, 12), "xlm-roberta-large": (1024, 24)}[name]
    assert (config.hidden_size, config.num_hidden_layers) == width
    assert (config.vocab_size, config.max_position_embeddings, config.pad_token_id) == (250_002, 514, 1)
