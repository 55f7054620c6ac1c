"""The command line of training heads, for a short run in the process of the test."""

from pathlib import Path

from training.stages.heads import options as heads_options
from training.stages.heads.options import HeadsOptions


def flags(models: Path, data: Path, folder: Path, *more: str) -> list[str]:
    """A run of two epochs in this process; `more` may say otherwise."""
    kept = {
        "--models-dir": models,
        "--dataset-dir": data,
        "--checkpoint-dir": folder,
        "--dataset-num-workers": 0,
        "--dataset-train-split": 0.7,
        "--train-device": "cpu",
        "--distributed-num-nodes": 1,
        "--distributed-parallel-devices": 1,
        "--hyperparam-epochs": 2,
        "--hyperparam-batch-size": 8,
        "--hyperparam-precision": 32,
    }
    return [str(word) for pair in kept.items() for word in pair] + list(more)


def options(arguments: list[str]) -> HeadsOptions:
    return HeadsOptions(**vars(heads_options.parser().parse_args(arguments)))
