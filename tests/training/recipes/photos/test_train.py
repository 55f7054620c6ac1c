"""The photographs' recipe end to end on small stand-ins of the packages: names, training, a checkpoint."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.loaders import registry
from models.loaders.concept_memory import ConceptMemory
from tests.models import backbones
from tests.training.recipes.photos.nouns import INDEX, NOUNS
from training import devices, states
from training.recipes.photos import features, stage, train, wordnet

TABLE = "synset\tlanguage\tlemma\tsource\tlicence\nn01440764\tdeu\tSchleie\tWiktionary\tCC BY-SA\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    backbones.write(folder)
    return folder


@pytest.fixture
def command(models: Path, emoji_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The flags of a run of four steps, after the run's folder."""
    words = wordnet.WordNet(wordnet.read_nouns(NOUNS.splitlines()), wordnet.read_senses(INDEX.splitlines()))
    monkeypatch.setattr(wordnet, "fetch_wordnet", lambda cache: words)
    table = tmp_path / "names.tsv"
    table.write_text(TABLE, encoding="utf-8")
    numbers = {"--steps": 4, "--save-every": 2, "--batch": 16, "--pairs": 2, "--least-names": 1}
    numbers |= {"--threads": 1}
    places = {"--models-dir": models, "--data": emoji_root, "--names": table}
    return [str(word) for pair in (places | numbers).items() for word in pair]


def heads_of(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / "checkpoint/text-photos.ckpt", weights_only=True)
    return found


def test_a_run_leaves_a_checkpoint_and_goes_on_exactly(
    command: list[str], models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the documented command: its checkpoint loads, and a stopped run ends as one that was not."""
    train.main([str(tmp_path / "whole"), *command])
    folder = tmp_path / "whole" / "checkpoint"
    told = json.loads((folder / "heads.json").read_text())
    assert told["step"] == 4
    due = {"ImageNet": "WordNet-3.0", "WordNet": "WordNet-3.1", "Wiktionary": "CC BY-SA"}
    assert told["sources"] == due
    assert (told["--layers"], told["--vision-share"]) == (1, 0.5)
    assert told["files"].keys() == {"e5-small-q4.bin", "efficientnet-lite0.pth", "names.tsv"}
    for name in (backbones.VISION, backbones.TEXT):
        (folder / name).symlink_to(models / name)
    loaded = registry.load(folder)
    assert (loaded.meta["name"], loaded.meta["dim"]) == ("photos", 512)
    assert loaded.model.text.get_parameter("memory.vectors").shape == (1000, 512)

    save = states.save

    def save_and_stop(*arguments: Any, **named: Any) -> None:
        save(*arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(states, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train.main([str(tmp_path / "stopped"), *command])
    monkeypatch.setattr(states, "save", save)
    train.main([str(tmp_path / "stopped"), *command])
    whole, stopped = heads_of(tmp_path / "whole"), heads_of(tmp_path / "stopped")
    assert all(torch.equal(value, stopped[key]) for key, value in whole.items())


def test_what_is_wrong_is_one_sentence(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects from stack traces: a table that is not there, and a model that is not there, are named."""
    with pytest.raises(SystemExit, match=r"train: .*nowhere\.tsv cannot be read"):
        train.main([str(tmp_path / "run"), *command, "--names", str(tmp_path / "nowhere.tsv")])
    with pytest.raises(SystemExit, match="train: the data has no locale xx"):
        train.main([str(tmp_path / "run"), *command, "--locales", "xx"])
    with pytest.raises(SystemExit, match=r"train: .* has no folder RN50"):
        train.main([str(tmp_path / "run"), *command, "--model-visual-name", "RN50"])


def test_runs_share_what_the_text_model_makes_of_names(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the hour that features take: a run on names that are there reads no text model."""
    kept = ["--features", str(tmp_path / "kept")]
    monkeypatch.setattr(features, "PART", 700)
    train.main([str(tmp_path / "one"), *command, *kept])
    assert len(list((tmp_path / "kept").glob("*/*.npy"))) > 1

    def refuse(self: features.FrozenTexts) -> None:
        raise AssertionError("the text model was read again")

    monkeypatch.setattr(features.FrozenTexts, "backbone", property(refuse))
    train.main([str(tmp_path / "two"), *command, *kept])
    train.main([str(tmp_path / "fewer"), *command, *kept, "--locales", "en"])
    one, two = heads_of(tmp_path / "one"), heads_of(tmp_path / "two")
    assert all(torch.equal(value, two[key]) for key, value in one.items())


def test_a_head_may_be_kept_from_the_language() -> None:
    """Protects --neutral: what differs from language to language is gone, and all else is as it was."""
    chance = torch.Generator().manual_seed(0)
    content = torch.randn(60, 8, generator=chance) * torch.tensor([0.0, 0.0, 1, 1, 1, 1, 1, 1])
    leaning = torch.zeros(3, 8)
    leaning[0, 0], leaning[1, 1] = 5.0, 5.0
    names = stage.Names(
        torch.cat([content + one for one in leaning]),
        np.repeat([0, 1, 2], 60),
        np.zeros(180, dtype=np.int64),
        np.full(180, -1),
        np.zeros(180, dtype=bool),
    )
    found = stage.language_neutral(names, 2)
    torch.testing.assert_close(names.features @ found, content.repeat(3, 1), atol=1e-5, rtol=0)
    assert torch.equal(stage.language_neutral(names, 0), torch.eye(8))


def test_classes_keep_their_logits_in_the_common_space() -> None:
    """Protects what ImageNet knows: dot products with the classes' vectors are the classifier's."""
    weight = torch.randn(20, 40)
    x = torch.randn(5, 40)
    vectors, projection = features.concept_vectors(weight, 20, 0.5)
    centred = weight - weight.mean(0)
    due = x @ centred.T
    found = (x @ projection.T) @ vectors.T
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    lengths = (u * s**0.5).norm(dim=1)
    torch.testing.assert_close(found * lengths, due, atol=1e-3, rtol=1e-3)


def test_names_of_a_language_count_less_the_more_there_are() -> None:
    """Protects rare languages: a batch is drawn by the square root of how many names each has."""
    names = stage.Names(
        torch.randn(110, 4),
        np.array([0] * 100 + [1] * 10),
        np.zeros(110, dtype=np.int64),
        np.full(110, -1),
        np.zeros(110, dtype=bool),
    )
    memory = ConceptMemory(torch.ones(3, 512), 20.0, 1.0, 0.5)
    recipe = stage.Recipe(
        checkpoint=Path("nowhere"),
        vision_model="v",
        text_model="t",
        vision_head=torch.zeros(512, 8),
        neutral=torch.eye(4),
        memory=memory,
        logit_scale=100.0,
        batch=8,
        pairs=0,
        pair_weight=0.0,
        in_epoch=2,
        seed=0,
        layers=1,
        fixed={},
        about={},
    )
    made = stage.NamesStage(recipe, names, torch.eye(3), torch.zeros(512, 4), devices.choose("cpu"))
    share = made.chances[names.language == 1].sum()
    assert share == pytest.approx(10**0.5 / (100**0.5 + 10**0.5))
    first, again = made.draw(3), made.draw(3)
    assert torch.equal(first.rows, again.rows)
    assert torch.equal(first.moves, again.moves)
