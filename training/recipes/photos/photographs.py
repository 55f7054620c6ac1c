"""Photographs to measure on: a folder with captions, of which labels are made, or a folder for each class.

    FOLDER/captions.json        [{"file": name, "captions": [text, …]}, …]; other keys are passed over
    FOLDER/<class>/*.jpg        as Caltech-101: a folder's name is its class, in English, with _ for blanks

A photograph with captions shows what at least two of them name. The names that are looked for are CLDR's
English ones of emoji, so that every label has a name in each of CLDR's locales.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from training.datasets.rows import DataError, one_line

CAPTIONS = "captions.json"
LEAST = 2  # captions that name a thing, for a photograph to show it
# The recipe's model knows things, not people; and what a caption calls so is seldom what the emoji is.
NOT_ASKED = {
    "baby", "boy", "child", "girl", "man", "men", "old man", "old woman", "older person", "people", "person",
    "woman", "women", "family", "hands", "eye", "eyes", "face", "foot", "hand", "head", "leg", "mouth",
    "nose", "ring", "top", "back", "on", "end", "up", "down", "left", "right", "red", "white", "black",
    "blue",
}  # fmt: skip


@dataclass(frozen=True)
class Photograph:
    path: Path
    captions: tuple[str, ...] = ()
    folder: str = ""
    """Its class, where the folder tells it."""


def read_captioned(folder: Path) -> list[Photograph]:
    """The photographs of captions.json.

    Raises:
        DataError: it is missing or of another form, or names a file that is not in the folder.
    """
    path = folder / CAPTIONS
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(rows, list):
        raise DataError(f"{path} must be a list of photographs")
    found = []
    for number, row in enumerate(rows):
        file = row.get("file") if isinstance(row, dict) else None
        captions = row.get("captions") if isinstance(row, dict) else None
        if not isinstance(file, str) or Path(file).name != file:
            raise DataError(f"{path}: [{number}] needs a file, the name of an image beside it")
        if not isinstance(captions, list) or not captions or not all(isinstance(x, str) for x in captions):
            raise DataError(f"{path}: [{number}] needs captions, a list of texts")
        if not (folder / file).is_file():
            raise DataError(f"{path}: [{number}] names {file}, which is not there")
        found.append(Photograph(folder / file, tuple(one_line(caption) for caption in captions)))
    return found


def read_folders(folder: Path, limit: int | None = None) -> list[Photograph]:
    """The images of a folder for each class, at most `limit` of each, in the order of their names.

    Raises:
        DataError: there are fewer than two classes.
    """
    kinds = {".jpg", ".jpeg", ".png", ".webp"}
    try:
        classes = sorted(inner for inner in folder.iterdir() if inner.is_dir())
        images = {
            inner.name: sorted(path for path in inner.iterdir() if path.suffix.lower() in kinds)[:limit]
            for inner in classes
        }
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}") from error
    images = {name: paths for name, paths in images.items() if paths}
    if len(images) < 2:
        raise DataError(f"{folder} needs a folder of images for each of at least two classes")
    return [
        Photograph(path, folder=name.replace("_", " ")) for name, paths in images.items() for path in paths
    ]


def things_in(photographs: list[Photograph], names: Mapping[str, str]) -> list[set[str]]:
    """What each photograph shows: keys of `names`, which are English names by a key such as an emoji."""
    patterns = {
        key: re.compile(rf"\b{re.escape(name.lower())}(?:s|es)?\b")
        for key, name in names.items()
        if name.lower() not in NOT_ASKED and len(name) > 1
    }
    found = []
    for one in photographs:
        captions = [caption.lower() for caption in one.captions]
        found.append(
            {
                key
                for key, pattern in patterns.items()
                if sum(pattern.search(caption) is not None for caption in captions) >= LEAST
            }
        )
    return found
