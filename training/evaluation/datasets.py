"""Data sets as CLIP_benchmark keeps them: shards of images with their captions or classes.

    FOLDER/
      classnames.txt                            one class a line; of another language: classnames.de.txt
      zeroshot_classification_templates.txt     one sentence with {c} a line; likewise …templates.de.txt
      dataset_type.txt                          `multilabel` where an image may have several classes
      test/nshards.txt                          how many shards the split has
      test/0.tar …                              members KEY.jpg with KEY.cls, KEY.npy or KEY.txt

KEY.txt has one caption per line, KEY.cls a class's number from 0, KEY.npy a 0 or 1 for every class. Captions
in further languages are members KEY.de.txt. CLIP_benchmark passes over whatever has a language in its name.
"""

import io
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from training.evaluation.embedding import Picture
from training.evaluation.errors import EvaluationError
from training.evaluation.languages import PLACEHOLDER, canonical, spellings, templates_of

IMAGES = ("webp", "png", "jpg", "jpeg")
CLASSES = "classnames"
TEMPLATES = "zeroshot_classification_templates"

Members = dict[str, bytes]
"""Of one sample: what stands behind the key's dot → contents."""


class WebDataset:
    """One split of such a folder; its shards are read anew by every method that needs them.

    Args:
        folder: as above.
        split: the folder of the shards.
        own_language: what captions and classes are in whose names have no language.

    Raises:
        EvaluationError: from here and from every method: names the file and what it should hold.
    """

    def __init__(self, folder: Path, split: str = "test", own_language: str = "en") -> None:
        self.name = folder.resolve().name
        self.folder, self.split, self.own_language = folder, split, canonical(own_language)
        path = folder / split / "nshards.txt"
        if not path.is_file():
            splits = ", ".join(sorted(file.parent.name for file in folder.glob("*/nshards.txt"))) or "none"
            raise EvaluationError(f"{path} is missing; the splits of {folder} are: {splits}")
        count = read_text(path).strip()
        if not re.fullmatch("[1-9][0-9]*", count):
            raise EvaluationError(f"{path} must hold the number of shards, at least 1, not {count!r}")
        self.shards = [folder / split / f"{number}.tar" for number in range(int(count))]

    def pictures(self) -> Iterator[Picture]:
        """The images in order."""
        for name, members in self._samples(lambda kind: kind in IMAGES):
            if not members:
                miss(name, f"has no image; it must have one of .{', .'.join(IMAGES)}")
            yield Picture(name, next(iter(members.values())))

    def captions(self, language: str) -> list[list[str]]:
        """Each image's captions, blank lines left out."""
        kinds = [f"{code}.txt" for code in spellings(language)]
        if canonical(language) == self.own_language:
            kinds.append("txt")
        found = []
        for name, members in self._samples(lambda kind: kind in kinds):
            if not members:
                miss(
                    name,
                    f"has no captions in {language!r}; they are in .{' or .'.join(kinds)}{self._hint('')}",
                )
            kind = next(kind for kind in kinds if kind in members)
            lines = [line for line in decode(f"{name}.{kind}", members[kind]).splitlines() if line.strip()]
            if not lines:
                miss(f"{name}.{kind}", "has no caption; it must have one a line")
            found.append(lines)
        return found

    def labels(self, classes: int) -> Tensor:
        """int64 [N], each below `classes`; of a multilabel data set bool [N, classes]."""
        kind = self.folder / "dataset_type.txt"
        if kind.is_file() and read_text(kind).strip().lower() == "multilabel":
            rows = [array_in(name, data, classes) for name, data in self._label_members("npy")]
            return torch.from_numpy(np.stack(rows))
        numbers = [number_in(name, data, classes) for name, data in self._label_members("cls")]
        return torch.tensor(numbers)

    def classes(self, language: str) -> list[str]:
        """The names of the classes, in the order of their numbers."""
        path = self._of_language(CLASSES, language)
        if path is None:
            files = " or ".join(f"{CLASSES}.{code}.txt" for code in spellings(language))
            raise EvaluationError(
                f"{self.folder}: there are no names of the classes in {language!r}; {files} would"
                f" hold them, one a line{self._hint(CLASSES)}"
            )
        return lines_of(path)

    def templates(self, language: str) -> list[str]:
        """The data set's sentences, else the built-in ones."""
        path = self._of_language(TEMPLATES, language)
        if path is None:
            return templates_of(language)
        found = lines_of(path)
        for number, line in enumerate(found, 1):
            if PLACEHOLDER not in line:
                raise EvaluationError(f"{path}, line {number}: {line!r} has no {PLACEHOLDER}")
        return found

    def languages(self, task: str) -> list[str]:
        """What this data set can be evaluated in, its own language first."""
        if task == "zeroshot_classification":
            found = [path.name.split(".")[1] for path in sorted(self.folder.glob(f"{CLASSES}.*.txt"))]
            own = (self.folder / f"{CLASSES}.txt").is_file()
        else:
            _, first = next(self._samples(lambda kind: kind.endswith("txt")))
            found = sorted(kind.removesuffix(".txt") for kind in first if kind != "txt")
            own = "txt" in first
        return list(dict.fromkeys([*([self.own_language] if own else []), *map(canonical, found)]))

    def _of_language(self, stem: str, language: str) -> Path | None:
        paths = [self.folder / f"{stem}.{code}.txt" for code in spellings(language)]
        if canonical(language) == self.own_language:
            paths.append(self.folder / f"{stem}.txt")
        return next((path for path in paths if path.is_file()), None)

    def _hint(self, stem: str) -> str:
        return f" ({stem}.txt is in {self.own_language!r}, see --own-language)"

    def _samples(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Members]]:
        """Names and wanted members of all samples: those that follow one another and share their key.

        A key ends at the first dot of a file's name, as in WebDataset.
        """
        some = False
        for shard in self.shards:
            if not shard.is_file():
                raise EvaluationError(f"{shard} is missing; nshards.txt says {len(self.shards)}, from 0.tar")
            current, members = "", Members()
            try:
                with tarfile.open(shard, "r:") as tar:
                    for entry in tar:
                        match = re.fullmatch(r"((?:.*/)?[^./]+)\.([^/]+)", entry.name)
                        if not entry.isfile() or match is None:
                            continue
                        key, kind = match[1], match[2].lower()
                        if key != current and current:
                            yield f"{shard}: {current}", members
                            members = Members()
                        current, some = key, True
                        if wanted(kind):
                            file = tar.extractfile(entry)
                            assert file is not None, "an ordinary file has content"
                            members[kind] = file.read()
            except (tarfile.TarError, EOFError, OSError) as error:
                raise EvaluationError(f"{shard} is no sound tar file: {error}") from error
            if current:
                yield f"{shard}: {current}", members
        if not some:
            raise EvaluationError(f"{self.folder / self.split}: there is no sample in its shards")

    def _label_members(self, kind: str) -> Iterator[tuple[str, bytes]]:
        for name, members in self._samples(lambda found: found == kind):
            if not members:
                miss(name, f"has no .{kind}, so no class")
            yield f"{name}.{kind}", members[kind]


def number_in(name: str, data: bytes, classes: int) -> int:
    text = decode(name, data).strip()
    if not re.fullmatch("[0-9]+", text) or int(text) >= classes:
        miss(name, f"must hold the number of a class, 0 to {classes - 1}, not {text[:20]!r}")
    return int(text)


def array_in(name: str, data: bytes, classes: int) -> np.ndarray:
    try:
        row = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise EvaluationError(f"{name} is no numpy file: {error}") from error
    if not isinstance(row, np.ndarray) or row.shape != (classes,) or not np.isin(row, (0, 1)).all():
        miss(name, f"must hold {classes} values of 0 or 1, one a class")
    return row.astype(bool)


def miss(name: str, fault: str) -> NoReturn:
    raise EvaluationError(f"{name} {fault}")


def decode(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        miss(name, "is no UTF-8")


def read_text(path: Path) -> str:
    """A small UTF-8 file.

    Raises:
        EvaluationError: it is missing, or is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise EvaluationError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path} is no UTF-8") from error


def lines_of(path: Path) -> list[str]:
    """The lines of a file, trimmed; a line's number means something, so none before the last may be blank."""
    lines = [line.strip() for line in read_text(path).rstrip().splitlines()]
    if not lines:
        raise EvaluationError(f"{path} is empty")
    if "" in lines:
        raise EvaluationError(f"{path}: line {lines.index('') + 1} is blank")
    return lines
