"""Distillation and contrastive training, as commands, on small models of every kind."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import nn

from models import checkpoint
from models.files.weights import read_state
from models.loaders import registry
from tests.miniature import NAMES, make_model
from tests.places import REPOSITORY
from tests.systems import families
from tests.training.stages.runs import contrastive_flags, log_of, teacher_flags
from training import distributed, states
from training.datasets import splitting
from training.stages import contrastive, distillation

pytestmark = pytest.mark.slow  # trains


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, words: Tokenizer) -> Path:
    """A checkpoint of this project's, with random weights."""
    folder = tmp_path_factory.mktemp("models") / "start"
    checkpoint.save(folder, make_model(words), words, languages=["en"], training={})
    return folder


def weights(folder: Path, tower: str) -> dict[str, torch.Tensor]:
    return read_state(folder / f"{tower}.safetensors")


def test_tables_leave_held_out_locales_to_the_teacher(tables: Path) -> None:
    """Protects the claim that a held-out language was never paired with an image."""
    captions = [json.loads(line) for line in (tables / "captions.jsonl").read_text().splitlines()]
    assert {row["language"] for row in captions} == {"en", "de"}
    assert {row["title"] for row in captions} == {
        name for locale in ("en", "de") for name in NAMES[locale].values()
    }
    parallel = (tables / "parallel.tsv").read_text().splitlines()
    assert "red circle\t赤い丸\tja" in parallel
    assert len(parallel) == 1 + 3 * 4


def test_a_student_comes_to_the_teachers_vectors(model: Path, tables: Path, tmp_path: Path) -> None:
    """Protects distillation: a fresh text tower learns all languages, and nothing else moves."""
    more = ["--epochs", "60", "--lr", "1e-2", "--language-column", "language"]
    distillation.main(teacher_flags(model, tables, tmp_path, *more))
    measured = [row for row in log_of(tmp_path) if "trained_cosine" in row]
    assert measured[-1]["trained_cosine"] > max(0.95, measured[0]["trained_cosine"])
    assert measured[-1]["trained_recall@1"] == 1
    for name, value in weights(model, "vision").items():
        assert value.equal(weights(tmp_path / "model", "vision")[name]), name
    before, after = checkpoint.load(model), checkpoint.load(tmp_path / "model")
    english, japanese = embedded(after, "red circle"), embedded(after, NAMES["ja"]["🔴"])
    taught = embedded(before, "red circle")
    assert float((taught * english).sum()) > 0.9
    assert float((taught * japanese).sum()) > 0.9
    assert after.meta["training"]["stage"] == "teacher"
    assert (before.meta["languages"], after.meta["languages"]) == (["en"], ["de", "en", "ja"])
    assert after.meta["training"]["teacher"] == before.meta["space"]
    assert after.meta["logit_scale"] == pytest.approx(before.meta["logit_scale"], rel=1e-3)


def embedded(loaded: checkpoint.Checkpoint, text: str) -> torch.Tensor:
    with torch.inference_mode():
        vectors: torch.Tensor = loaded.model.text(*_tokens(loaded, text))
    return vectors


def _tokens(loaded: checkpoint.Checkpoint, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([loaded.tokenizer.encode(text).ids])
    return ids, torch.ones_like(ids)


def test_the_teacher_reads_each_source_once(
    model: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the cache: a resumed run reads the teacher's vectors, and does not compute them again."""
    distillation.main(teacher_flags(model, tables, tmp_path))
    (file,) = tmp_path.glob("teacher-*.npy")
    assert np.load(file).shape == (4, 32)
    before = file.stat().st_mtime_ns
    distillation.main(teacher_flags(model, tables, tmp_path, "--resume"))
    assert file.stat().st_mtime_ns == before


@pytest.mark.parametrize("train", ["text", "heads", "both"])
def test_only_what_was_asked_for_learns(model: Path, tables: Path, tmp_path: Path, train: str) -> None:
    """Protects frozen towers, their BatchNorm statistics included, and that the others do learn."""
    run = ["--train", train, "--epochs", "3", "--weight-decay", "0"]
    contrastive.main(contrastive_flags(model, tables, tmp_path, *run))
    moved = {
        tower: {
            name
            for name, value in weights(model, tower).items()
            if not value.equal(weights(tmp_path / "model", tower)[name])
        }
        for tower in ("text", "vision")
    }
    if train == "heads":
        assert moved == {"text": {"projection.weight"}, "vision": {"projection.weight"}}
    else:
        assert any("word_embeddings" in name for name in moved["text"])
        assert bool(moved["vision"]) == (train == "both")
        assert any("running_mean" in name for name in moved["vision"]) == (train == "both")
    assert registry.load(tmp_path / "model").meta["space"] != registry.load(model).meta["space"]


class Replica(nn.Module):
    """As torch wraps a module whose gradients are averaged: its weights have other names."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.module(*inputs)


def test_heads_of_several_processes_are_written_by_their_own_names(
    model: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects what several devices train: the checkpoint loads, though the heads in use are replicas."""
    monkeypatch.setattr(distributed, "replicated", lambda module, **_: Replica(module))
    contrastive.main(contrastive_flags(model, tables, tmp_path, "--train", "heads", "--epochs", "2"))
    assert registry.load(tmp_path / "model").meta["training"]["epochs_done"] == 2


@pytest.mark.parametrize("loss", contrastive.LOSSES)
def test_it_learns(model: Path, tables: Path, tmp_path: Path, loss: str) -> None:
    """Protects the loop: the loss falls, the rate rises and falls, and each epoch is measured."""
    metrics = tmp_path / "training.prom"
    more = [
        "--epochs",
        "6",
        "--train",
        "text",
        "--loss",
        loss,
        "--lr",
        "1e-2",
        "--metrics-file",
        str(metrics),
    ]
    contrastive.main(contrastive_flags(model, tables, tmp_path / "run", *more))
    rows = log_of(tmp_path / "run")
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < losses[0]
    assert len([row for row in rows if "image_retrieval_recall@1" in row]) == 6
    assert all(0 <= row["score"] <= 1 for row in rows if "score" in row)
    found = {family.name: family for family in text_string_to_metric_families(metrics.read_text())}
    (sample,) = found["babelclip_training_loss"].samples
    assert sample.labels == {"run": "run"}
    assert sample.value == pytest.approx(losses[-1])


@pytest.mark.parametrize("saves", [2, 3, 9])
def test_a_stopped_run_goes_on_exactly(
    model: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: int
) -> None:
    """Protects resuming: weights and figures are those of an uninterrupted run, wherever it stopped."""
    run = ["--epochs", "3", "--save-every", "1", "--train", "both", "--accumulate", "2", "--batch", "2"]
    contrastive.main(contrastive_flags(model, tables, tmp_path / "whole", *run))

    save, calls = states.save, 0

    def save_and_stop(*arguments: Any, **named: Any) -> None:
        nonlocal calls
        save(*arguments, **named)
        calls += 1
        if calls == saves:
            raise KeyboardInterrupt

    stopped = contrastive_flags(model, tables, tmp_path / "stopped", *run, "--resume")
    monkeypatch.setattr(states, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        contrastive.main(stopped)
    monkeypatch.setattr(states, "save", save)
    contrastive.main(stopped)
    for tower in ("text", "vision"):
        whole = weights(tmp_path / "whole" / "model", tower)
        assert all(
            value.equal(whole[name]) for name, value in weights(tmp_path / "stopped" / "model", tower).items()
        )
    ends = [[row for row in log_of(tmp_path / run) if "score" in row][-1] for run in ("whole", "stopped")]
    assert ends[0] == ends[1]


@pytest.mark.parametrize("family", ["clip", "altclip", "dual-encoder", "laion-base", "siglip"])
def test_public_models_are_trained_and_written_in_their_own_form(
    family: str, tables: Path, tmp_path: Path
) -> None:
    """Protects warm starts: what comes out is a source of the same kind, with the text tower changed."""
    families.FAMILIES[family](tmp_path / "start", true=False)
    flags = contrastive_flags(tmp_path / "start", tables, tmp_path / "run", "--train", "text")
    contrastive.main([*flags, "--lr", "1e-4"])
    before, after = (registry.load(tmp_path / place) for place in ("start", "run/model"))
    assert type(after.public_model) is type(before.public_model)
    pixels = torch.randint(0, 255, (2, *[before.model.config.vision.size] * 2, 3), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(after.model.vision(pixels), before.model.vision(pixels))
        texts = [loaded.model.text(*_tokens(loaded, "a red circle")) for loaded in (before, after)]
    assert float((texts[0] - texts[1]).abs().max()) > 1e-6
    about = json.loads((tmp_path / "run" / "model" / "training.json").read_text())
    assert (about["from"], about["stage"]) == (before.meta["space"], "contrastive")


def test_siglip_goes_on_from_its_own_scale_and_bias(tables: Path, tmp_path: Path) -> None:
    """Protects what a sigmoid was trained with: it starts there, above 100 too, and both are written back."""
    families.siglip(tmp_path / "start", true=False)
    state = read_state(tmp_path / "start" / "model.safetensors")
    state |= {"logit_scale": torch.tensor([112.0]).log(), "logit_bias": torch.tensor([-16.0])}
    save_file(state, tmp_path / "start" / "model.safetensors", metadata={"format": "pt"})
    flags = contrastive_flags(
        tmp_path / "start", tables, tmp_path / "run", "--loss", "sigmoid", "--epochs", "1"
    )
    contrastive.main([*flags, "--lr", "1e-5"])
    trained = registry.load(tmp_path / "run" / "model")
    assert trained.meta["logit_scale"] == pytest.approx(112.0, abs=0.1)
    learned = trained.model.logit_bias
    assert learned is not None
    bias = learned.item()
    assert bias == pytest.approx(-16.0, abs=0.01)
    assert bias != -16.0, "it learns"
    assert log_of(tmp_path / "run")[-1]["bias"] == pytest.approx(bias)


def test_two_processes_train_one_model(model: Path, tables: Path, tmp_path: Path) -> None:
    """Protects several devices: torchrun's processes share the data, and one of them writes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m"]
    flags = contrastive_flags(model, tables, tmp_path, "--train", "text", "--epochs", "2")
    done = subprocess.run(
        [*command, "training.stages.contrastive", *flags], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = log_of(tmp_path)
    assert [row["epoch"] for row in rows if "score" in row] == [1, 2]
    assert registry.load(tmp_path / "model").meta["training"]["processes"] == 2


def test_what_cannot_be_trained_is_said_in_a_sentence(
    model: Path, tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects users from stack traces: each refusal names what is wrong and what to do."""
    contrastive.main(contrastive_flags(model, tables, tmp_path / "run"))
    refused: list[tuple[Any, list[str], str]] = [
        (
            contrastive.main,
            contrastive_flags(model, tables, tmp_path / "run"),
            "already holds a run: --resume",
        ),
        (
            contrastive.main,
            contrastive_flags(model, tables, tmp_path / "run", "--resume", "--lr", "2"),
            "of a run with lr 0.001, not 2.0",
        ),
        (
            contrastive.main,
            contrastive_flags(model, tables, tmp_path / "few", "--batch", "400"),
            "images to train on, and 400 are needed",
        ),
        (
            contrastive.main,
            contrastive_flags(model, tables, tmp_path / "cut", "--held-out", "2"),
            "--held-out must be at least 0 and below 1",
        ),
        (
            distillation.main,
            teacher_flags(tmp_path / "nothing", tables, tmp_path / "none"),
            "nothing: no such file or folder",
        ),
    ]
    for main, flags, sentence in refused:
        with pytest.raises(SystemExit) as stopped:
            main(flags)
        assert sentence in str(stopped.value)


def test_broken_images_are_left_out_and_too_many_end_the_run(
    model: Path,
    tables: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Protects long runs: one broken image costs itself alone, and a broken data set is not trained on."""
    monkeypatch.setattr(contrastive, "MAX_BROKEN_SHARE", 0.2)
    rows = [json.loads(line) for line in (tables / "captions.jsonl").read_text().splitlines()]
    files = sorted({row["filepath"] for row in rows})

    def with_broken(count: int) -> Path:
        folder = tmp_path / f"broken{count}"
        folder.mkdir()
        renamed = {file: f"{number}.png" for number, file in enumerate(files[:count])}
        for name in renamed.values():
            (folder / name).write_bytes(b"no image")
        whole = {file: str((tables / file).resolve()) for file in files}
        lines = [
            json.dumps({**row, "filepath": renamed.get(row["filepath"], whole[row["filepath"]])})
            for row in rows
        ]
        (folder / "captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
        return folder

    contrastive.main(contrastive_flags(model, with_broken(1), tmp_path / "one", "--train", "text"))
    assert "images are left out, because they are broken" in capsys.readouterr().out
    many = contrastive_flags(model, with_broken(20), tmp_path / "many", "--train", "text")
    with pytest.raises(SystemExit, match=r"or more of \d+ images are broken, and at most 20% may be"):
        contrastive.main(many)
    # The one that is left out may be the one that fills a batch.
    keys = ["0.png", *(str((tables / file).resolve()) for file in files[1:])]
    seed = next(seed for seed in range(99) if not splitting.is_held_out("0.png", share=0.4, seed=seed))
    batch = sum(not splitting.is_held_out(key, share=0.4, seed=seed) for key in keys)
    full = contrastive_flags(model, tmp_path / "broken1", tmp_path / "full", "--train", "text")
    with pytest.raises(SystemExit, match=f"{batch - 1} images to train on, and {batch} are needed"):
        contrastive.main([*full, "--seed", str(seed), "--batch", str(batch)])
