"""Which form of a model is loaded, where a folder holds more than one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from models.loaders import open_clip, registry
from tests.broken import assert_refused_in_one_line
from tests.systems import families

OWN_TEXT = {"model_cfg": {"embed_dim": 16, "vision_cfg": {}, "text_cfg": {"context_length": 77, "width": 32}}}


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model in transformers' files, and one in open_clip's."""
    root = tmp_path_factory.mktemp("forms")
    families.altclip(root / "transformers", true=False)
    families.laion_base(root / "open_clip", true=False)
    return {name: root / name for name in ("transformers", "open_clip")}


@pytest.fixture
def both(forms: dict[str, Path], tmp_path: Path) -> Path:
    """One folder with all files of both."""
    folder = tmp_path / "both"
    for form in ("open_clip", "transformers"):
        shutil.copytree(forms[form], folder, dirs_exist_ok=True)
    return folder


def describe_own_text(folder: Path) -> None:
    (folder / open_clip.CONFIG).write_text(json.dumps(OWN_TEXT))


def drop(*names: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return spoil


@pytest.mark.parametrize(
    ("change", "loaded"),
    [
        (lambda folder: None, "open_clip text"),
        (describe_own_text, "AltCLIPModel"),
        (drop("open_clip_model.safetensors"), "AltCLIPModel"),
        (lambda folder: (folder / open_clip.CONFIG).write_text("{"), "AltCLIPModel"),
        (drop("preprocessor_config.json"), "open_clip text"),
        (drop("model.safetensors"), "open_clip text"),
    ],
)
def test_of_two_forms_the_complete_one_is_loaded(
    both: Path, change: Callable[[Path], object], loaded: str
) -> None:
    """Most public CLIPs lie beside open_clip's files, whose text model may be its own, or weights missing."""
    change(both)
    found = registry.load(both)
    assert found.meta["source"] == loaded
    assert found.meta["space"] == registry.space_of(both)


def test_without_a_complete_one_what_open_clip_lacks_is_said(both: Path) -> None:
    """The complaint is about one form, not about both."""
    drop("open_clip_model.safetensors", "model.safetensors")(both)
    assert_refused_in_one_line(both, "no weights, none of open_clip_model.safetensors")


def test_a_model_is_saved_in_the_form_that_it_was_loaded_from(both: Path, tmp_path: Path) -> None:
    """Training from a folder of two forms leaves the one that was trained."""
    describe_own_text(both)
    registry.save(registry.load(both), tmp_path / "trained", scale=20.0, about={})
    assert not (tmp_path / "trained" / open_clip.CONFIG).exists()
    assert registry.load(tmp_path / "trained").meta["source"] == "AltCLIPModel"
