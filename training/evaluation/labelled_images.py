"""Images with one class each, by split: shards as CLIP_benchmark has them, or a folder for each class.

    FOLDER/
      train/cat/1.jpg, train/dog/2.png …    any depth below the folder of the class
      test/cat/9.jpg …

The classes are the names of those folders in all splits, in their order.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from babelclip.search.folder import find_images
from training.evaluation.datasets import WebDataset
from training.evaluation.embedding import Picture
from training.evaluation.errors import EvaluationError


class LabelledImages(Protocol):
    """One split of a data set; every method may raise EvaluationError."""

    name: str

    def classes(self, language: str) -> list[str]:
        """The names of the classes, in the order of their numbers."""

    def labels(self, classes: int) -> Tensor:
        """The number of each image's class, int64 [N]."""

    def pictures(self) -> Iterator[Picture]:
        """The images in order."""


class ImageFolder:
    """One split of a folder as above."""

    def __init__(self, folder: Path, split: str) -> None:
        self.name = folder.resolve().name
        self._names = sorted({one.name for part in _folders(folder) for one in _folders(part)})
        self._files: list[Path] = []
        self._labels: list[int] = []
        for label, name in enumerate(self._names):
            place = folder / split / name
            found = find_images(place).images if place.is_dir() else []
            self._files += found
            self._labels += [label] * len(found)
        if not self._files:
            raise EvaluationError(f"{folder / split} has no images; they must be in {split}/CLASS/")

    def classes(self, language: str) -> list[str]:
        """The names of the folders, whatever the language."""
        return self._names

    def labels(self, classes: int) -> Tensor:
        """The number of each image's class, int64 [N]."""
        return torch.tensor(self._labels)

    def pictures(self) -> Iterator[Picture]:
        """The images in order."""
        for file in self._files:
            try:
                yield Picture(str(file), file.read_bytes())
            except OSError as error:
                raise EvaluationError(f"{file}: {error.strerror}") from error


def open_labelled(folder: Path, split: str, own_language: str = "en") -> LabelledImages:
    """One split of the data set in a folder, in whichever layout it has.

    Raises:
        EvaluationError: it has neither, or not this split.
    """
    if any(folder.glob("*/nshards.txt")):
        return WebDataset(folder, split, own_language)
    if not (folder / split).is_dir():
        splits = ", ".join(sorted(part.name for part in _folders(folder))) or "none"
        raise EvaluationError(
            f"{folder} has no split {split}: {split}/nshards.txt and its shards, or {split}/CLASS/ with"
            f" images; its folders are: {splits}"
        )
    return ImageFolder(folder, split)


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
