import json
import subprocess
import sys
from pathlib import Path

import torch

from models import checkpoint
from tests.miniature import NAMES
from tests.places import REPOSITORY
from training.recipes.mini import data
from training.recipes.mini.dataset import TRAIN_FAMILIES
from training.recipes.mini.train import teacher_targets


def train(run: Path, root: Path, stage: str, steps: int, *more: str) -> list[dict[str, object]]:
    command = [
        sys.executable,
        "-m",
        "training.recipes.mini.train",
        str(run),
        "--data",
        str(root),
        "--stage",
        stage,
    ]
    command += ["--steps", str(steps), "--small-steps", "1", "--concepts", "2", "--teacher-captions", "16"]
    command += ["--save-every", "2", "--threads", "1", "--device", "cpu", *more]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_both_stages_run_resume_and_leave_a_checkpoint(tmp_path: Path, emoji_root: Path) -> None:
    """Protects the documented commands: contrastive, resumed from its state, then teacher."""
    run = tmp_path / "run"
    train(run, emoji_root, "contrastive", 2)
    log = train(run, emoji_root, "contrastive", 4)
    assert [row["step"] for row in log] == [2, 4]
    before = checkpoint.load(run / "checkpoint")
    train(run, emoji_root, "teacher", 2)
    after = checkpoint.load(run / "checkpoint")
    assert {name: stage["steps"] for name, stage in after.meta["training"]["stages"].items()} == {
        "contrastive": 4,
        "teacher": 2,
    }
    assert after.meta["space"] != before.meta["space"]
    for key, value in before.model.vision.state_dict().items():
        assert value.equal(after.model.vision.state_dict()[key]), f"the frozen vision tower moved: {key}"
    assert not before.model.text.memory.vectors.any()
    drawings = data.load_drawings(emoji_root, TRAIN_FAMILIES, 64)
    means = teacher_targets(before.model, drawings, len(NAMES["en"]), torch.device("cpu"))
    torch.testing.assert_close(after.model.text.memory.vectors.data, means, atol=1e-3, rtol=0)


def test_a_run_keeps_the_locales_it_holds_out(tmp_path: Path, emoji_root: Path) -> None:
    """Protects figures of held-out languages: a run that goes on with other ones is refused."""
    run = tmp_path / "run"
    train(run, emoji_root, "contrastive", 2)
    command = [
        sys.executable,
        "-m",
        "training.recipes.mini.train",
        str(run),
        "--data",
        str(emoji_root),
        "--steps",
        "4",
    ]
    command += ["--stage", "contrastive", "--concepts", "2", "--hold-out", "ja", "--device", "cpu"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1
    assert "begun with other locales held out: none" in done.stderr


def test_the_teacher_stage_goes_on_from_a_checkpoint(tmp_path: Path, emoji_root: Path) -> None:
    """Protects training that goes on where a committed model ended: its image tower and tokenizer stay."""
    train(tmp_path / "first", emoji_root, "contrastive", 2)
    start = tmp_path / "first" / "checkpoint"
    train(tmp_path / "second", emoji_root, "teacher", 2, "--start", str(start))
    before, after = checkpoint.load(start), checkpoint.load(tmp_path / "second" / "checkpoint")
    assert after.meta["training"]["stages"]["start"]["space"] == before.meta["space"]
    assert after.tokenizer.to_str() == before.tokenizer.to_str()
    for key, value in before.model.vision.state_dict().items():
        assert value.equal(after.model.vision.state_dict()[key]), f"the frozen vision tower moved: {key}"
    moved = after.model.text.state_dict()
    assert any(not value.equal(moved[key]) for key, value in before.model.text.state_dict().items())


def test_the_teacher_stage_says_what_it_needs(tmp_path: Path, emoji_root: Path) -> None:
    """Protects whoever starts the second stage first from a stack trace."""
    command = [
        sys.executable,
        "-m",
        "training.recipes.mini.train",
        str(tmp_path / "run"),
        "--data",
        str(emoji_root),
    ]
    done = subprocess.run(
        [*command, "--stage", "teacher", "--steps", "1"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "starts from" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_step_cannot_be_made_of_is_refused(tmp_path: Path, emoji_root: Path) -> None:
    """Protects whoever asks for one drawing a concept, or too many concepts, from a stack trace."""
    command = [
        sys.executable,
        "-m",
        "training.recipes.mini.train",
        str(tmp_path / "run"),
        "--data",
        str(emoji_root),
    ]
    command += ["--stage", "contrastive", "--steps", "1"]
    for wrong, sentence in (
        (["--drawings", "1", "--concepts", "2"], "--drawings must be at least 2"),
        (["--concepts", "5"], "--concepts 5, and 4 have captions and drawings"),
    ):
        done = subprocess.run([*command, *wrong], cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 1
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
