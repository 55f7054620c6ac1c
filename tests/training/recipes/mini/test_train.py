import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from models import checkpoint
from tests.miniature import NAMES
from tests.places import REPOSITORY
from tests.training.stages.runs import environment, log_of, one_thread
from training import states
from training.recipes.mini import data
from training.recipes.mini import train as mini
from training.recipes.mini.dataset import TRAIN_FAMILIES
from training.recipes.mini.stages import rate_factor, teacher_targets

__all__ = ["environment", "one_thread"]

pytestmark = pytest.mark.slow  # trains


def words_of(run: Path, root: Path, stage: str, steps: int, *more: str) -> list[str]:
    """What the command is given."""
    given = [str(run), "--data", str(root), "--stage", stage, "--steps", str(steps), "--small-steps", "1"]
    given += ["--concepts", "2", "--teacher-captions", "16", "--save-every", "2", "--threads", "1"]
    return [*given, "--device", "cpu", *more]


def train(run: Path, root: Path, stage: str, steps: int, *more: str) -> list[dict[str, Any]]:
    """The command, in this process: to start one takes far longer than to train. Returns the run's log."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [mini.COMMAND, *words_of(run, root, stage, steps, *more)])
        mini.main()
    return log_of(run)


def refusal(run: Path, root: Path, stage: str, steps: int, *more: str) -> str:
    """The one line with which the command ends instead of training."""
    with pytest.raises(SystemExit) as ended:
        train(run, root, stage, steps, *more)
    said = ended.value.code
    assert isinstance(said, str)
    assert said.startswith("training.recipes.mini.train: ")
    assert len(said.splitlines()) == 1, said
    return said


def test_both_stages_run_resume_and_leave_a_checkpoint(tmp_path: Path, emoji_root: Path) -> None:
    """Protects the documented commands: contrastive, resumed from its state, then teacher."""
    run = tmp_path / "run"
    command = [sys.executable, "-m", mini.COMMAND, *words_of(run, emoji_root, "contrastive", 2)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    log = train(run, emoji_root, "contrastive", 4)
    assert [row["step"] for row in log if "loss" in row] == [2, 4]
    assert all(row["stage"] == "contrastive" for row in log)
    assert all(0 <= row["image_right"] <= 1 for row in log if "image_right" in row)
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
    assert not before.model.text.get_parameter("memory.vectors").any()
    drawings = data.load_drawings(emoji_root, TRAIN_FAMILIES, 64)
    means = teacher_targets(before.model, drawings, len(NAMES["en"]), torch.device("cpu"))
    torch.testing.assert_close(after.model.text.memory.vectors.data, means, atol=1e-3, rtol=0)


def test_a_resumed_run_goes_on_exactly(tmp_path: Path, emoji_root: Path) -> None:
    """Protects resuming: drawings, captions and weights are those of a run that was never stopped."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train(whole, emoji_root, "contrastive", 4)
    halves.mkdir()
    shutil.copyfile(
        whole / "tokenizer.json", halves / "tokenizer.json"
    )  # a new one may number its pieces anew
    # Within the warm-up the rates are those of a run of any length.
    train(halves, emoji_root, "contrastive", 2)
    train(halves, emoji_root, "contrastive", 4)
    found = [states.read_weights(run / "contrastive/states/step-000000004.pt")[0] for run in (whole, halves)]
    assert found[0].keys() == found[1].keys()
    assert all(value.equal(found[1][name]) for name, value in found[0].items())


def test_a_run_keeps_the_locales_it_holds_out(tmp_path: Path, emoji_root: Path) -> None:
    """Protects figures of held-out languages: a run that goes on with other ones is refused."""
    train(tmp_path, emoji_root, "contrastive", 2)
    said = refusal(tmp_path, emoji_root, "contrastive", 4, "--hold-out", "ja")
    assert "of a run with --hold-out none, not ja" in said


def test_a_state_that_is_cut_short_is_named(tmp_path: Path, emoji_root: Path) -> None:
    """Protects whoever resumes, or begins the second stage, from half a file: a sentence and no trace."""
    train(tmp_path, emoji_root, "contrastive", 2)
    (state,) = (tmp_path / "contrastive" / "states").iterdir()
    state.write_bytes(state.read_bytes()[:10_000])
    for stage in ("contrastive", "teacher"):
        assert f"{state} is no state of a run: it is cut short" in refusal(tmp_path, emoji_root, stage, 4)


def test_the_rate_begins_anew_at_full_size() -> None:
    """Protects the schedule: warm-up, a cosine over the small images, then again from half the peak."""
    rates = [rate_factor(step, 20, warmup=4, small_steps=10) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[9] < 0.1
    assert rates[10] == 0.5
    assert rates[19] < 0.05


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


def test_what_a_stage_needs_is_said(tmp_path: Path, emoji_root: Path) -> None:
    """Protects whoever starts the second stage first, or asks for what there is not, from a stack trace."""
    run = tmp_path / "run"
    assert "starts from a state in" in refusal(run, emoji_root, "teacher", 1)
    said = refusal(run, emoji_root, "contrastive", 1, "--drawings", "1")
    assert "--drawings must be at least 2" in said
    said = refusal(run, emoji_root, "contrastive", 1, "--concepts", "5")
    assert "--concepts 5, and 4 have captions and drawings" in said
    (run / "contrastive.pt").touch()
    assert "contrastive.pt is a state of an earlier version" in refusal(run, emoji_root, "contrastive", 1)
