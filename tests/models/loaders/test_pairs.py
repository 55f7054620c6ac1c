"""Text towers that are published apart from their CLIP: joined to it, and what is said of broken ones."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.checkpoint import Checkpoint, CheckpointError
from models.loaders import registry
from tests.broken import assert_refused_in_one_line, spoil_json, spoil_weights
from tests.systems import families, pair_families
from tests.systems.families import Reference
from training.evaluation.embedding import LoadedModel, Picture

NAMES = list(pair_families.FAMILIES)
WEIGHTS = "text/model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Reference]]:
    """A folder of each pair, and what its library makes of texts and images."""
    folders = {name: tmp_path_factory.mktemp("made") / name for name in NAMES}
    return {name: (path, pair_families.FAMILIES[name](path, true=False)) for name, path in folders.items()}


def assert_vectors(loaded: Checkpoint, due: Reference) -> None:
    """Both towers give a library's vectors."""
    found = LoadedModel(loaded, "tiny", torch.device("cpu"))
    images = found.embed_images([Picture("one", data) for data in families.pictures()])
    assert families.nearest(due.texts, list(found.embed_texts(families.TEXTS).numpy())) > 0.9999
    assert families.nearest(due.images, list(images.numpy())) > 0.9999


@pytest.mark.parametrize("name", NAMES)
def test_vectors_are_the_librarys(name: str, made: dict[str, tuple[Path, Reference]]) -> None:
    """The mean over a text's tokens, the layer behind it and the CLIP's image tower, in one space."""
    folder, reference = made[name]
    loaded = registry.load(folder)
    assert_vectors(loaded, reference)
    assert (loaded.meta["dim"], loaded.meta["space"]) == (16, registry.space_of(folder))


@pytest.mark.parametrize("name", NAMES)
def test_two_folders_are_joined(name: str, made: dict[str, tuple[Path, Reference]], tmp_path: Path) -> None:
    """The text tower's folder is the source and gives its name; the CLIP is named beside it."""
    folder, reference = made[name]
    text, vision = tmp_path / "multilingual", tmp_path / "clip"
    text.symlink_to(folder / "text")
    vision.symlink_to(folder / "vision")
    joined = registry.locate(str(text), str(vision))
    loaded = registry.load(joined)
    assert (loaded.meta["name"], loaded.meta["space"]) == ("multilingual", registry.space_of(folder))
    assert_vectors(loaded, reference)
    again = registry.locate(str(folder), str(vision))  # of a pair the text tower is meant
    assert registry.space_of(again) == loaded.meta["space"]


def test_either_part_is_part_of_the_space(made: dict[str, tuple[Path, Reference]], tmp_path: Path) -> None:
    """Another image tower, another dense layer or another text model give vectors of another space."""
    spaces = {registry.space_of(made["sentence-transformers"][0])}
    for number, file in enumerate(
        ("vision/0_CLIPModel/model.safetensors", "text/2_Dense/model.safetensors", WEIGHTS)
    ):
        folder = Path(shutil.copytree(made["sentence-transformers"][0], tmp_path / str(number)))
        spoil_weights(file, lambda state: next(iter(state.values())).add_(1.0))(folder)
        spaces.add(registry.space_of(folder))
    assert len(spaces) == 4


def test_weights_that_older_versions_saved_are_read(
    made: dict[str, tuple[Path, Reference]], tmp_path: Path
) -> None:
    """M-CLIP's are a pickle with a buffer that nothing needs, as transformers 4.8 wrote them."""
    folder = Path(shutil.copytree(made["mclip"][0], tmp_path / "older"))
    state = load_file(folder / WEIGHTS)
    state["transformer.embeddings.position_ids"] = torch.arange(514)[None]
    torch.save(state, folder / "text" / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    assert_vectors(registry.load(folder), made["mclip"][1])


def test_newer_settings_of_the_pooling_are_read(
    made: dict[str, tuple[Path, Reference]], tmp_path: Path
) -> None:
    """Newer versions of sentence-transformers name the one pooling that there is."""
    folder = Path(shutil.copytree(made["sentence-transformers"][0], tmp_path / "newer"))
    (folder / "text/1_Pooling/config.json").write_text(
        json.dumps({"embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": True})
    )
    assert_vectors(registry.load(folder), made["sentence-transformers"][1])


def test_a_text_tower_alone_is_told_what_it_lacks(made: dict[str, tuple[Path, Reference]]) -> None:
    """Images need a model too, and the option that names it is said; so is what has no use for it."""
    for name in NAMES:
        folder = made[name][0]
        assert_refused_in_one_line(folder / "text", "name the CLIP that it goes with, --vision CLIP")
        with pytest.raises(CheckpointError, match="no text tower that is published apart"):
            registry.locate(str(folder / "vision"), str(folder / "vision"))
        with pytest.raises(CheckpointError, match="is no folder of a CLIP's files"):
            registry.locate(str(folder / "text"), str(next((folder / "text").glob("*.safetensors"))))


def listed(*kinds: str) -> list[dict[str, str]]:
    return [{"type": f"sentence_transformers.models.{kind}", "path": ""} for kind in kinds]


def replaced(name: str, content: object) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(json.dumps(content))


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


DENSE = "text/2_Dense/config.json"


@pytest.mark.parametrize(
    ("family", "change", "says"),
    [
        ("mclip", spoil_json("text/config.json", numDims="many"), "numDims must be the dimensions"),
        ("mclip", spoil_json("text/config.json", modelBase="who/ever"), "the text model 'ever' (modelBase)"),
        ("mclip", spoil_json("text/text-model/config.json", model_type="gpt2"), "model_type 'gpt2' is not"),
        (
            "mclip",
            spoil_json("text/text-model/config.json", num_attention_heads=3),
            "no text model can be built",
        ),
        ("mclip", without("text/tokenizer.json"), "tokenizer.json is missing"),
        ("mclip", without(WEIGHTS), "no weights, neither model.safetensors"),
        (
            "mclip",
            spoil_weights(WEIGHTS, lambda s: s.pop("LinearTransformation.bias")),
            "missing LinearTransformation.bias",
        ),
        ("mclip", lambda folder: shutil.rmtree(folder / "vision"), "the folder vision, of the CLIP"),
        ("sentence-transformers", replaced("text/modules.json", {"a": 1}), "must list parts"),
        (
            "sentence-transformers",
            replaced("text/modules.json", listed("Transformer", "Pooling", "CNN")),
            "the parts Transformer, Pooling, CNN are not taken",
        ),
        ("sentence-transformers", replaced("vision/modules.json", []), "lists no part"),
        (
            "sentence-transformers",
            spoil_json("text/config.json", model_type="gpt2"),
            "model_type 'gpt2' is not",
        ),
        (
            "sentence-transformers",
            spoil_json("text/1_Pooling/config.json", pooling_mode_max_tokens=True),
            "the pooling mean and max is not taken",
        ),
        (
            "sentence-transformers",
            spoil_json(DENSE, activation_function="torch.nn.Tanh"),
            "activation 'Tanh'",
        ),
        ("sentence-transformers", spoil_json(DENSE, in_features=5), "in_features 5 and out_features 16"),
        ("sentence-transformers", spoil_json(DENSE, bias=True), "missing linear.bias"),
        (
            "sentence-transformers",
            spoil_json("text/sentence_bert_config.json", do_lower_case=True),
            "do_lower_case is not taken",
        ),
        (
            "sentence-transformers",
            without("text/sentence_bert_config.json"),
            "how long a text may be is not said",
        ),
        ("sentence-transformers", without("vision/0_CLIPModel/config.json"), "config.json is missing"),
    ],
)
def test_a_broken_folder_is_refused_in_one_line(
    family: str,
    change: Callable[[Path], object],
    says: str,
    made: dict[str, tuple[Path, Reference]],
    tmp_path: Path,
) -> None:
    """The message names the file, of either model, and what of it is wrong or not taken."""
    folder = Path(shutil.copytree(made[family][0], tmp_path / "tiny"))
    change(folder)
    assert_refused_in_one_line(folder, says)


def test_towers_of_different_spaces_are_told_apart(
    made: dict[str, tuple[Path, Reference]], tmp_path: Path
) -> None:
    """A CLIP of other dimensions is not the one that the text tower was trained with."""
    folder = Path(shutil.copytree(made["mclip"][0], tmp_path / "tiny"))
    spoil_json("text/config.json", numDims=8)(folder)

    def narrow(state: dict[str, torch.Tensor]) -> None:
        for name in ("weight", "bias"):
            state[f"LinearTransformation.{name}"] = state[f"LinearTransformation.{name}"][:8].clone()

    spoil_weights(WEIGHTS, narrow)(folder)
    assert_refused_in_one_line(folder, "texts have 8 dimensions and images 16")
