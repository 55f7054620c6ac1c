"""The names of gzomer's Multilingual CLIP, on archives in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from babelclip import ModelNotFound, SpaceMismatch
from babelclip.compat import multilingual_clip
from babelclip.compat.multilingual_clip import (
    MultiLingualCLIP,
    MultiLingualSearch,
    create_and_load_from_hub,
    load_from_hub,
    load_model,
)
from babelclip.testing import InMemoryTransport
from handlers.runtime import device
from models.loaders import hub, registry
from models.loaders.projection_heads import ProjectionHead
from tests.places import SAMPLES
from tests.systems import families
from training.evaluation.embedding import LoadedModel, Picture

exported: list[tuple[str, Path]] = []


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of one's own."""
    monkeypatch.setenv("BABELCLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> InMemoryTransport:
    """No export and no archives: what would be exported is noted, and vectors are hashes."""
    exported.clear()
    transport = InMemoryTransport()

    def export(source: str, store: Path) -> None:
        exported.append((source, store))
        store.mkdir(parents=True)
        (store / "manifest.json").write_text("{}", encoding="utf-8")

    monkeypatch.setattr(multilingual_clip, "_export", export)
    monkeypatch.setattr(multilingual_clip, "open_transport", lambda url: transport)
    return transport


@pytest.fixture
def heads(tmp_path: Path) -> tuple[Path, Path]:
    """Heads of a training, vision and text, beside the models they need."""
    for base in multilingual_clip.BASES:
        (tmp_path / "models" / base).mkdir(parents=True)
    paths = tmp_path / "models" / "vision-last.ckpt", tmp_path / "models" / "text-last.ckpt"
    for path in paths:
        torch.save(ProjectionHead(8, dim=4).state_dict(), path)
    return paths


def test_the_cards_first_snippet_runs(in_memory: InMemoryTransport, tmp_path: Path, cache: Path) -> None:
    """Protects users of the published model: loaded from the hub once, and searched with their own array."""
    model = create_and_load_from_hub()
    np.save(tmp_path / "embeddings.npy", np.stack([in_memory.vector(text) for text in ("school", "sea")]))
    images_embeddings = np.load(tmp_path / "embeddings.npy")
    semantic_search = MultiLingualSearch(model, images_embeddings, ["school.jpg", "sea.jpg"])
    results = semantic_search.search("sea")
    assert [result["image"] for result in results] == ["sea.jpg", "school.jpg"]
    assert exported == [("hf-hub:gzomer/clip-multilingual", cache / "stores" / "gzomer--clip-multilingual")]
    load_from_hub(MultiLingualCLIP())
    assert len(exported) == 1


def test_the_cards_second_snippet_runs(
    in_memory: InMemoryTransport, heads: tuple[Path, Path], cache: Path
) -> None:
    """Protects users with checkpoints of their own: both heads and what lies beside them are exported."""
    vision_checkpoint_path, text_checkpoint_path = map(str, heads)
    model = MultiLingualCLIP(num_layers=3)
    load_model(model, vision_checkpoint_path, text_checkpoint_path)
    assert model.embed_texts(["विद्यालय में"]).vectors.shape == (1, 32)
    ((source, store),) = exported
    folder = Path(source)
    assert folder.parent == cache / "sources"
    assert folder.name == store.name
    assert (folder / "clip-visual-projection.ckpt").resolve() == heads[0].resolve()
    assert (folder / "clip-text-projection.ckpt").resolve() == heads[1].resolve()
    assert {base for base in multilingual_clip.BASES if (folder / base).is_dir()} == {
        "RN50x4",
        "xlm-roberta-base",
    }
    load_model(MultiLingualCLIP(), *heads, device="hpu")
    assert len(exported) == 1
    torch.save(ProjectionHead(8, dim=4).state_dict(), heads[0])  # trained on
    load_model(MultiLingualCLIP(), *heads)
    assert len(exported) == 2
    with pytest.raises(ValueError, match="has its weights already"):
        load_model(model, *heads)


def test_what_cannot_be_loaded_is_said(
    in_memory: InMemoryTransport, heads: tuple[Path, Path], tmp_path: Path
) -> None:
    """Protects people from a model without weights, or with those of another form."""
    with MultiLingualCLIP() as model:
        with pytest.raises(ModelNotFound, match=r"no weights yet: load_model\(\)"):
            model.embed_texts(["sea"])
        with pytest.raises(ValueError, match=r"vision-last.ckpt has 3 layers, and the model was made for 2"):
            load_model(MultiLingualCLIP(num_layers=2), *heads)
        with pytest.raises(
            ModelNotFound, match=r"timm/resnet50x4_clip.openai --local-dir .*elsewhere/RN50x4"
        ):
            load_model(model, *heads, bases=tmp_path / "elsewhere")
        heads[1].write_bytes(b"no head")
        with pytest.raises(ValueError, match=r"text-last.ckpt is no checkpoint of a projection head"):
            load_model(model, *heads)
        with pytest.raises(FileNotFoundError):
            load_model(model, heads[0], tmp_path / "nowhere.ckpt")
    assert exported == []


def test_without_the_repository_there_is_a_way(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects users of the published wheel, which cannot export: they are told what to run where."""
    monkeypatch.setenv("BABELCLIP_REPOSITORY", str(tmp_path))
    with pytest.raises(ModelNotFound) as error:
        create_and_load_from_hub()
    store = cache / "stores" / "gzomer--clip-multilingual"
    assert f"python -m export hf-hub:gzomer/clip-multilingual --store {store}" in str(error.value)
    assert "set BABELCLIP_REPOSITORY" in str(error.value)
    (tmp_path / "export").mkdir()
    program = "import sys\nprint('loading', file=sys.stderr)\nsys.exit('export: the hub does not answer')\n"
    (tmp_path / "export" / "__main__.py").write_text(program, encoding="utf-8")
    with pytest.raises(ModelNotFound, match=r"cannot be exported: export: the hub does not answer$"):
        create_and_load_from_hub()


def test_the_bases_are_those_of_the_loader() -> None:
    """Protects the advice on what to fetch from what the loader would fetch itself."""
    assert multilingual_clip.BASES == hub.BASES


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "has_native_bfloat16", lambda kind: False)


@pytest.mark.slow  # exports a model
@pytest.mark.usefixtures("float32")
def test_heads_give_the_vectors_of_the_models_they_are_on(tmp_path: Path) -> None:
    """Protects the whole way of a small model of the published form: exported, opened, and right."""
    folder = tmp_path / "heads"
    families.gzomer(folder, true=False)
    vision, text = (folder / name for name in multilingual_clip.HEADS)
    texts = ["a red heart", "un chat noir"]
    images = [path.read_bytes() for path in sorted(SAMPLES.glob("*.png"))[:2]]
    with MultiLingualCLIP(num_layers=3) as model:
        load_model(model, vision, text)
        found = model.embed_texts(texts), model.embed_images(images)
        assert found[0].dim == 512
        with pytest.raises(SpaceMismatch):
            model.pin("another")
    reference = LoadedModel(registry.load(folder), "heads", torch.device("cpu"))
    due = reference.embed_texts(texts), reference.embed_images(Picture("", image) for image in images)
    for ours, theirs in zip(found, due, strict=True):
        assert (ours.vectors * theirs.numpy()).sum(axis=1).min() > 0.999
