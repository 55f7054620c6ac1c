"""Projection heads on frozen towers: the published files, and what is said of broken ones."""

import hashlib
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.checkpoint import CheckpointError
from models.loaders import backbones, open_clip, registry
from models.loaders.projection_heads import ProjectionHead
from tests.broken import assert_refused_in_one_line
from tests.systems import families


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads") / "tiny"
    families.gzomer(folder, true=False)
    return folder


@pytest.fixture
def source(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(made, tmp_path / "tiny"))


@pytest.mark.parametrize(("width", "parameters"), [(768, 1_180_672), (640, 1_115_136)])
def test_heads_have_the_published_number_of_parameters(width: int, parameters: int) -> None:
    """Three layers that share one LayerNorm: anything else could not hold the public weights."""
    assert sum(p.numel() for p in ProjectionHead(width).parameters()) == parameters


def test_a_head_is_off_its_dropout_in_evaluation() -> None:
    """Vectors must not depend on chance: with evaluation mode two passes are equal."""
    head, x = ProjectionHead(8).eval(), torch.randn(3, 8)
    assert torch.equal(head(x), head(x))


def swap(folder: Path) -> None:
    text, vision = (folder / f"clip-{tower}-projection.ckpt" for tower in ("text", "visual"))
    text.rename(folder / "held")
    vision.rename(text)
    (folder / "held").rename(vision)


def spoil_head(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "clip-text-projection.ckpt"
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (swap, "are the two files swapped?"),
        (spoil_head(lambda s: s.pop("layer_norm.bias")), "missing layer_norm.bias"),
        (spoil_head(lambda s: s.update(extra=torch.zeros(1))), "unexpected extra"),
        (
            spoil_head(lambda s: s.update({"linear_layers.1.weight": torch.zeros(2, 2)})),
            "linear_layers.1.weight has the shape [2, 2] where [512, 512] is due",
        ),
        (lambda folder: (folder / "clip-text-projection.ckpt").write_bytes(b"PK"), "cannot be read"),
        (lambda folder: (folder / "clip-text-projection.ckpt").unlink(), "one text head is needed"),
        (lambda folder: shutil.rmtree(folder / "RN50x4"), "has no folder RN50x4"),
        (lambda folder: (folder / "RN50x4/open_clip_model.safetensors").unlink(), "no weights"),
        (lambda folder: (folder / "xlm-roberta-base/model.safetensors").unlink(), "no weights"),
        (lambda folder: (folder / "xlm-roberta-base/tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda folder: (folder / "xlm-roberta-base/config.json").unlink(), "config.json is missing"),
    ],
)
def test_a_broken_folder_is_refused_in_one_line(
    source: Path, spoil: Callable[[Path], object], says: str
) -> None:
    """The message names the file and what is wrong with it; nothing is guessed or left at random."""
    spoil(source)
    assert_refused_in_one_line(source, says)


def test_the_scale_is_the_learned_one_where_training_tells_it(source: Path) -> None:
    """Heads of our own training keep their scale; the published ones have the 100 of their search."""
    assert registry.load(source).meta["logit_scale"] == 100.0
    (source / "heads.json").write_text('{"logit_scale": 23.5}')
    assert registry.load(source).meta["logit_scale"] == 23.5
    (source / "heads.json").write_text('{"logit_scale": "much"}')
    with pytest.raises(CheckpointError, match="logit_scale must be a number above 0"):
        registry.load(source)


def test_the_archives_have_the_name_that_training_tells(source: Path) -> None:
    """Heads in a folder called checkpoint are served under a name that says what they are."""
    assert registry.load(source).meta["name"] == source.name.lower()
    (source / "heads.json").write_text('{"name": "photos"}')
    assert registry.load(source).meta["name"] == "photos"
    (source / "heads.json").write_text('{"name": "../elsewhere"}')
    with pytest.raises(CheckpointError, match=r"name must be lower-case letters, .* not '\.\./elsewhere'"):
        registry.load(source)


def test_heads_by_the_names_of_training_are_found_if_they_are_the_only_ones(source: Path) -> None:
    """text-NAME.ckpt and vision-NAME.ckpt serve as well; of several none is guessed."""
    space = registry.space_of(source)
    (source / "clip-text-projection.ckpt").rename(source / "text-7.ckpt")
    (source / "clip-visual-projection.ckpt").rename(source / "vision-7.ckpt")
    assert registry.load(source).meta["space"] == registry.space_of(source) != space
    shutil.copy(source / "text-7.ckpt", source / "text-8.ckpt")
    with pytest.raises(CheckpointError, match=r"found text-7\.ckpt, text-8\.ckpt"):
        registry.load(source)


@pytest.mark.parametrize("legacy", [False, True])
def test_heads_out_of_a_training_run_are_read(source: Path, legacy: bool) -> None:
    """A trainer keeps the head under state_dict, with its own counts beside it, by DDP's names."""
    path = source / "clip-text-projection.ckpt"
    due = torch.load(path, weights_only=True)
    state = {f"module.{key}": value for key, value in due.items()}
    held = {"epoch": np.int64(7), "global_step": 10, "state_dict": state, "lr_schedulers": []}
    torch.save(held, path, _use_new_zipfile_serialization=not legacy)
    found = registry.load(source).model.text.projection.state_dict()
    assert torch.equal(found["linear1.weight"], due["linear1.weight"])


def test_the_text_model_may_be_a_pickle(source: Path) -> None:
    """xlm-roberta-base of before safetensors: pytorch_model.bin, of masked language modelling."""
    folder = source / "xlm-roberta-base"
    before = registry.load(source).model.text.encoder.state_dict()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    after = registry.load(source).model.text.encoder.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


class Published(torch.nn.Module):
    """A program that holds tensors under dotted names and numbers, as OpenAI's does."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for key, value in state.items():
            place: torch.nn.Module = self
            *parents, last = key.split(".")
            for part in parents:
                if part not in dict(place.named_children()):
                    place.add_module(part, torch.nn.Module())
                place = place.get_submodule(part)
            place.register_buffer(last, value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_openais_own_program_is_loaded_only_when_it_is_openais(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RN50x4.pt is a program that could do anything: one of another checksum than OpenAI's is refused."""
    own = source / "RN50x4"
    config = open_clip.read_config(own)[1]
    state = load_file(own / "open_clip_model.safetensors")
    program = Published({**state, "input_resolution": torch.tensor(64)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(program), own / "RN50x4.pt")
    (own / "open_clip_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"OpenAI's RN50x4\.pt has 7e526bd135e493ce"):
        registry.load(source)
    found = hashlib.sha256((own / "RN50x4.pt").read_bytes()).hexdigest()
    monkeypatch.setattr(backbones, "openai_sha256", lambda: found)
    monkeypatch.setattr(open_clip.package(), "get_model_config", lambda name: config)
    loaded = registry.load(source).model.vision.encoder.state_dict()
    assert torch.equal(loaded["conv1.weight"], state["visual.conv1.weight"])
