"""A classifier head from labelled images: logistic regression on the vectors of a served model.

    python -m training.stages.classifier FOLDER --url mar:model_store --output flowers.safetensors
    babelclip classify photographs --head flowers.safetensors --url mar:model_store

FOLDER/CLASS/ holds the images of each class, at any depth; the names of these folders are the labels. The
strength of the regularisation is what gives held-out images the highest likelihood. Files that have no vector
are named and left out.

The head also learns what shows none of its classes, without images of nothing: every image is compared with
the mean vector of its class, made without it, and, as if its class were unknown, with that of the class that
would be taken for it then. Below 20 images it has no such calibration, and every image gets a label.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from babelclip import Calibration, Client, Embeddings
from babelclip.cli.console import progress_bar
from babelclip.errors import BabelclipError
from babelclip.search.calibration import FEWEST, fit_calibration
from babelclip.search.folder import Skipped, find_images
from babelclip.search.folder_search import embed_files
from babelclip.search.head import ClassifierHead
from models import outputs
from training.evaluation import linear_probe as probe
from training.evaluation.errors import EvaluationError
from training.evaluation.linear_probe import Labelled

FOLDS = 5
VALIDATION = 0.2  # of each class, on which the regularisation is chosen


@dataclass(frozen=True)
class LabelledFiles:
    """Files and the number of each one's label, sorted by both."""

    labels: list[str]
    files: list[Path]
    numbers: list[int]
    skipped: list[Skipped]


def find_labelled(folder: Path) -> LabelledFiles:
    """The images in the folders of `folder`, whose names are the labels.

    Raises:
        EvaluationError: there are not at least two such folders with images.
    """
    if not folder.is_dir():
        raise EvaluationError(f"{folder} is no folder")
    found = LabelledFiles([], [], [], [])
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."):
        inside = find_images(place)
        found.skipped.extend(inside.skipped)
        if inside.images:
            found.numbers.extend([len(found.labels)] * len(inside.images))
            found.files.extend(inside.images)
            found.labels.append(place.name)
    if len(found.labels) < 2:
        raise EvaluationError(f"{folder} must hold a folder of images for each of at least two classes")
    return found


def train(
    labels: Sequence[str], numbers: NDArray[np.int64], images: Embeddings, *, seed: int = 0
) -> ClassifierHead:
    """The head of N images with a vector each, and of their labels' numbers, int64 [N].

    Raises:
        EvaluationError: a label has fewer than two images.
    """
    sizes = np.bincount(numbers, minlength=len(labels))
    if sizes.min() < 2:
        name = labels[int(sizes.argmin())]
        raise EvaluationError(f"the class {name!r} has {sizes.min()} usable images; each needs at least 2")
    data = Labelled(images.vectors.astype(np.float64), numbers)
    rows, held = probe.split(numbers, VALIDATION, seed)
    strength, _ = probe.best_strength(
        data.take(rows), data.take(held), len(labels), score=probe.log_likelihood
    )
    final = probe.fit(data, len(labels), strength)
    accuracy, calibration = _held_out(data, len(labels), strength, images.space, seed)
    return ClassifierHead(
        labels=tuple(labels),
        space=images.space,
        weight=final.weight.astype(np.float32),
        bias=final.bias.astype(np.float32),
        means=_means(data, len(labels)).astype(np.float32),
        calibration=calibration,
        about={"images": len(data), "C": strength, "held_out_accuracy": round(accuracy, 4)},
    )


def _held_out(
    data: Labelled, classes: int, strength: float, space: str, seed: int
) -> tuple[float, Calibration | None]:
    """What heads say of images that they have not seen: the accuracy, and the calibration of it.

    The cosine of an image with the mean of its own class is a match. What is none is an image whose class is
    left out: its cosine with the mean of the best of the others.
    """
    right = 0
    matches: list[NDArray[np.float64]] = []
    others: list[NDArray[np.float64]] = []
    for rows, held in _folds(data.labels, seed):
        part, asked = data.take(rows), data.take(held)
        logits = probe.fit(part, classes, strength).logits(asked.features)
        cosines = asked.features @ _means(part, classes).T
        each = np.arange(len(asked))
        right += int((logits.argmax(axis=1) == asked.labels).sum())
        matches.append(cosines[each, asked.labels])
        logits[each, asked.labels] = -np.inf
        others.append(cosines[each, logits.argmax(axis=1)])
    calibration = None
    if len(data) >= FEWEST:
        calibration = fit_calibration(space, np.concatenate(matches), np.concatenate(others))
    return right / len(data), calibration


def _folds(labels: NDArray[np.int64], seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to learn from and rows held out; each row is held out once, and no class ever as a whole."""
    count = min(FOLDS, int(np.bincount(labels)[np.unique(labels)].min()))
    chance = np.random.default_rng(seed)
    fold = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = chance.permutation(np.flatnonzero(labels == label))
        fold[rows] = np.arange(len(rows)) % count
    for number in range(count):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def _means(data: Labelled, classes: int) -> probe.Features:
    """The mean vector of each class, of length 1 again: [classes, D]."""
    sums = np.zeros((classes, data.features.shape[1]))
    np.add.at(sums, data.labels, data.features)
    means: probe.Features = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return means


def run(folder: Path, client: Client, *, seed: int = 0) -> tuple[ClassifierHead, list[Skipped]]:
    """The head of the images in a folder, and the files that were left out.

    Raises:
        EvaluationError: the folder has too few images.
        BabelclipError: as in `Client.embed_images`.
    """
    found = find_labelled(folder)
    with progress_bar("embedding", len(found.files)) as bar:
        images, skipped = embed_files(
            client, found.files, lambda done: bar.update(bar.task_ids[0], completed=done)
        )
    usable = images[images.ok]
    head = train(found.labels, np.array(found.numbers)[images.ok], usable, seed=seed)
    return head, [*found.skipped, *skipped]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.stages.classifier",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="a folder of images for each class")
    parser.add_argument("--url", required=True, help="the model: http://, grpc:// or mar:STORE")
    parser.add_argument("--output", type=Path, required=True, help="the head's file, .safetensors")
    parser.add_argument("--seed", type=int, default=0, help="of what is held out (default: 0)")
    options = parser.parse_args(arguments)
    outputs.check("training.stages.classifier", "--output", options.output)
    try:
        with Client(options.url) as client:
            head, skipped = run(options.folder, client, seed=options.seed)
        head.save(options.output)
    except (EvaluationError, BabelclipError, ImportError, OSError, ValueError) as error:
        sys.exit(f"training.stages.classifier: {error}")
    for skip in skipped:
        print(f"left out {skip.path}: {skip.code}: {skip.message}", file=sys.stderr)
    if head.calibration is None:
        print(f"no calibration: it takes {FEWEST} images; every image gets a label", file=sys.stderr)
    result = {"labels": len(head.labels), **head.about, "left_out": len(skipped), "space": head.space}
    print("result: " + json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
