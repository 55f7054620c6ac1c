"""Several heads on the same frozen models, measured on photographs one after the other.

    python -m training.recipes.photos.compare runs/a/checkpoint runs/b/checkpoint --photographs FOLDER

The measures are those of `python -m training.recipes.photos.evaluate`. What the frozen models make of a text
or an image is the same for all heads and computed once, so that a further checkpoint takes seconds. It ends
with `result: {…}`: the figures of each checkpoint, by its path.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from handlers.runtime.machine import usable_cores
from models import outputs
from models.checkpoint import Checkpoint
from models.files.npm_packages import PackageError
from models.files.weights import CheckpointError
from models.loaders import projection_heads
from training.arguments import positive
from training.datasets.rows import DataError
from training.evaluation.embedding import LoadedModel
from training.evaluation.errors import EvaluationError
from training.recipes.mini.dataset import ensure
from training.recipes.photos import evaluate

COMMAND = "training.recipes.photos.compare"


class Remembering(nn.Module):
    """An encoder that computes nothing twice: the same inputs get the answer that they got before."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.answers: dict[bytes, Any] = {}

    def forward(self, *inputs: Tensor, **named: Tensor) -> Any:
        digest = hashlib.sha256()
        for tensor in (*inputs, *named.values()):
            digest.update(f"{tensor.dtype}{[*tensor.shape]}".encode())
            digest.update(tensor.numpy().tobytes())
        key = digest.digest()
        if key not in self.answers:
            self.answers[key] = self.encoder(*inputs, **named)
        return self.answers[key]


class SharedModels:
    """Loads heads with the frozen models that the first of them had."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.encoders: dict[str, Remembering] = {}

    def load(self, folder: Path) -> Checkpoint:
        """The heads of a folder.

        Raises:
            CheckpointError: it holds no such heads, or they are on other models.
        """
        if not projection_heads.is_projection_heads(folder):
            raise CheckpointError(f"{folder} has no projection heads")
        names = projection_heads.models_of(folder)
        if self.names and names != self.names:
            due, found = (" and ".join(sorted(one.values())) for one in (self.names, names))
            raise CheckpointError(f"{folder}: its heads are on {found}, and those before it on {due}")
        loaded = projection_heads.load(folder)
        for name in ("text", "vision"):
            tower = loaded.model.tower(name)
            tower.encoder = self.encoders.setdefault(name, Remembering(tower.encoder))
        self.names = names
        return loaded


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog=f"python -m {COMMAND}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoints", nargs="+", type=Path, help="folders of projection heads")
    parser.add_argument("--photographs", type=Path, required=True, help="a folder with captions.json")
    parser.add_argument("--data", type=Path, default=Path("data/emoji"), help="built when absent")
    parser.add_argument("--locales", nargs="+", default=[], help="beside English (default: all)")
    parser.add_argument("--least", type=positive, default=evaluate.LEAST_NAMES, help="as of evaluate")
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    options = parser.parse_args(arguments)
    outputs.check(COMMAND, "--output", options.output)
    torch.set_num_threads(min(usable_cores(), torch.get_num_threads()))
    shared = SharedModels()
    found = {}
    try:
        root = ensure(options.data)
        for folder in options.checkpoints:
            model = LoadedModel(shared.load(folder), str(folder), torch.device("cpu"))
            report = evaluate.evaluate(
                model, options.photographs, root, least=options.least, locales=options.locales
            )
            found[str(folder)] = evaluate.result_of(report)
            print(f"{folder}: {json.dumps(found[str(folder)])}", flush=True)
    except (CheckpointError, DataError, EvaluationError, PackageError) as error:
        sys.exit(f"{COMMAND}: {error}")
    if options.output:
        with outputs.replacing(options.output) as partial:
            outputs.write_json(partial, found)
    print("result: " + json.dumps(found))


if __name__ == "__main__":
    main()
