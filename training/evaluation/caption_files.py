"""Retrieval data sets of loose images and files of captions: XTD10 and Crossmodal-3600 as they are published.

    XTD10                                        Crossmodal-3600, and any other
      test_image_names.txt   one image per line    captions.jsonl   one image per line
      test_1kcaptions_de.txt one caption per line  images/
      images/

XTD10's own repository is taken as it is cloned, too: the names of the images in XTD10/, captions in XTD10/,
MIC/ and STAIR/. Images that are not in images/ may be in COCO's train2014/ or val2014/, which may be links.

A line of captions.jsonl names the image as `image/key`, which is images/KEY.jpg, or as `image`, a file's name
in images/; each language's captions are a string, a list of them, or Crossmodal-3600's {"caption": [...]}.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from training.evaluation.datasets import WebDataset, lines_of
from training.evaluation.embedding import Picture
from training.evaluation.errors import EvaluationError
from training.evaluation.languages import canonical, spellings

XTD_IMAGES = "test_image_names.txt"
XTD_CAPTIONS = "test_1kcaptions_{}.txt"
XTD_CLONE = ("XTD10", "MIC", "STAIR")  # the folders of its repository; the first has the names of the images
XTD_PHOTOGRAPHS = ("images", "train2014", "val2014")
JSONL = "captions.jsonl"


class RetrievalData(Protocol):
    """Images and, in each language, the captions of each; every method may raise EvaluationError."""

    name: str

    def pictures(self) -> Iterator[Picture]:
        """The images in order."""

    def captions(self, language: str) -> list[list[str]]:
        """The captions of every image, at least one each."""

    def languages(self, task: str) -> list[str]:
        """The codes of the languages there are captions in."""


class Images:
    """Loose images of a folder, in a given order."""

    places: tuple[str, ...] = ("images",)  # in which of its folders they may be

    def __init__(self, folder: Path, files: list[str]) -> None:
        self.name = folder.resolve().name
        self.folder, self.files = folder, files

    def pictures(self) -> Iterator[Picture]:
        """The images in order."""
        for file in self.files:
            paths = [self.folder / place / file for place in self.places]
            path = next((path for path in paths if path.is_file()), paths[0])
            try:
                yield Picture(str(path), path.read_bytes())
            except OSError as error:
                raise EvaluationError(f"{path}: {error.strerror}") from error


class Xtd10(Images):
    """One caption per image and language, in files of as many lines."""

    places = XTD_PHOTOGRAPHS

    def __init__(self, folder: Path) -> None:
        cloned = not (folder / XTD_IMAGES).is_file()
        self.parts = [folder / part for part in XTD_CLONE] if cloned else [folder]
        super().__init__(folder, lines_of(self.parts[0] / XTD_IMAGES))

    def captions(self, language: str) -> list[list[str]]:
        """The caption of every image."""
        names = [XTD_CAPTIONS.format(code) for code in spellings(language)]
        paths = [part / name for part in self.parts for name in names]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            known = ", ".join(self.languages()) or "none"
            raise EvaluationError(f"{paths[0]} is missing; there are captions in: {known}")
        lines = lines_of(path)
        if len(lines) != len(self.files):
            raise EvaluationError(
                f"{path} has {len(lines)} captions; {XTD_IMAGES} has {len(self.files)} images"
            )
        return [[line] for line in lines]

    def languages(self, task: str = "zeroshot_retrieval") -> list[str]:
        """The codes of the files there are."""
        before, after = XTD_CAPTIONS.split("{}")
        names = sorted({path.name for part in self.parts for path in part.glob(XTD_CAPTIONS.format("*"))})
        return [canonical(name.removeprefix(before).removesuffix(after)) for name in names]


class Jsonl(Images):
    """A line per image, with its captions in every language.

    Args:
        folder: with captions.jsonl.
        first_only: of several captions take the first, as CLIP_benchmark does with Crossmodal-3600.
    """

    def __init__(self, folder: Path, *, first_only: bool = False) -> None:
        self.path, self.first_only = folder / JSONL, first_only
        self.rows = [self._row(number, line) for number, line in enumerate(lines_of(self.path), 1)]
        super().__init__(folder, [self._file(number, row) for number, row in enumerate(self.rows, 1)])

    def captions(self, language: str) -> list[list[str]]:
        """The captions of every image."""
        found = []
        for number, row in enumerate(self.rows, 1):
            given = next((row[code] for code in spellings(language) if code in row), None)
            if isinstance(given, dict):
                given = given.get("caption")
            captions = [given] if isinstance(given, str) else given
            if not isinstance(captions, list) or not captions or not all(map(is_caption, captions)):
                raise EvaluationError(
                    f"{self.path}, line {number}: {language!r} must be a caption or a list of them; this"
                    f" image has: {', '.join(languages_in(row)) or 'none'}"
                )
            found.append(captions[:1] if self.first_only else captions)
        return found

    def languages(self, task: str = "zeroshot_retrieval") -> list[str]:
        """The codes in the first line."""
        return [canonical(code) for code in languages_in(self.rows[0])]

    def _row(self, number: int, line: str) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise EvaluationError(f"{self.path}, line {number}, is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise EvaluationError(f"{self.path}, line {number}, must be an object")
        return row

    def _file(self, number: int, row: dict[str, Any]) -> str:
        if isinstance(row.get("image/key"), str):
            return f"{row['image/key']}.jpg"
        if isinstance(row.get("image"), str):
            return str(row["image"])
        raise EvaluationError(f"{self.path}, line {number}, has neither `image/key` nor `image`")


def is_caption(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def languages_in(row: dict[str, Any]) -> list[str]:
    """What is no language: `image` and all that begins with it, as Crossmodal-3600's `image/locale`."""
    return [key for key in row if key.partition("/")[0] != "image"]


def open_retrieval(
    folder: Path, *, split: str = "test", own_language: str = "en", first_only: bool = False
) -> RetrievalData:
    """The data set in a folder, in whichever layout it has.

    Raises:
        EvaluationError: it has none of them.
    """
    if any((folder / part / XTD_IMAGES).is_file() for part in ("", XTD_CLONE[0])):
        return Xtd10(folder)
    if (folder / JSONL).is_file():
        return Jsonl(folder, first_only=first_only)
    if not folder.is_dir() or not any(folder.glob("*/nshards.txt")):
        raise EvaluationError(
            f"{folder} is no data set: it must have {split}/nshards.txt, {JSONL} or {XTD_IMAGES}"
        )
    return WebDataset(folder, split, own_language)
