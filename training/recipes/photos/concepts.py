"""What the recipe learns names of: ImageNet's 1,000 classes, what they are kinds of, and their names.

A target is a distribution over the classes: one of them, or, for a hypernym such as "dog", equal parts of all
its kinds. A name is a text in a language with its target. Names come from

    ImageNet's own lemmas, which timm carries, in English
    WordNet's hypernyms of the classes, in English
    a table of names in other languages, `synset language lemma source licence`, where one is given
    CLDR's names of emoji in more than a hundred locales, where the English one most often means a target

Classes are by their synset, in the order of the classifier's rows.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.datasets.rows import DataError
from training.recipes.mini import data
from training.recipes.photos.languages import language_of
from training.recipes.photos.wordnet import WORDNET, Finder, Synset, WordNet, ancestors

COLUMNS = ("synset", "language", "lemma", "source", "licence")
CLASSES = 1000
LICENCES = {"ImageNet": "WordNet-3.0", "WordNet": WORDNET.licence, "CLDR": "Unicode-3.0"}
"""Of names, by their source."""
LARGEST_SHARE = 0.25  # of the classes; what covers more, such as "entity", says nothing
FREQUENT = 2  # senses of a word: bananas are plants first, and fruit then
MOST_LETTERS = 60  # of a name; what is longer explains


@dataclass(frozen=True)
class ImageNetClass:
    synset: str
    names: tuple[str, ...]
    definition: str


@dataclass(frozen=True)
class Name:
    text: str
    language: str
    """By CLDR's code."""
    target: int
    """Row of `Concepts.targets`."""
    source: str


@dataclass(frozen=True)
class Concepts:
    classes: list[ImageNetClass]
    targets: NDArray[np.float32]
    """[targets, classes], rows that sum to 1; the first rows are the classes themselves."""
    names: list[Name]

    def of_language(self, language: str) -> list[Name]:
        """The names in one language."""
        return [name for name in self.names if name.language == language]

    def languages(self) -> list[str]:
        """All codes, ascending."""
        return sorted({name.language for name in self.names})


def imagenet() -> list[ImageNetClass]:
    """The classes as timm describes them."""
    from timm.data.imagenet_info import ImageNetInfo

    info: Any = ImageNetInfo("imagenet-1k")
    found = []
    for synset in info.label_names():
        lemmas = info.label_name_to_description(synset)
        detailed = info.label_name_to_description(synset, detailed=True)
        names = tuple(name.strip() for name in lemmas.split(","))
        found.append(ImageNetClass(synset, names, detailed.removeprefix(f"{lemmas}: ")))
    return found


def gather(
    classes: list[ImageNetClass],
    wordnet: WordNet,
    table: Path | None = None,
    emoji: Path | None = None,
    locales: Sequence[str] = (),
    least: int = 1,
) -> Concepts:
    """All targets and names.

    Args:
        table: names in other languages; see the module.
        emoji: the data set of `training.recipes.mini.dataset`, for CLDR's names.
        locales: of the table's and CLDR's names; none: all.
        least: names that a language must have; those of others are left out.

    Raises:
        DataError: the table is not of the form.
    """
    targets = list(np.eye(len(classes), dtype=np.float32))
    names = [Name(text, "en", row, "ImageNet") for row, one in enumerate(classes) for text in one.names]
    own = synsets_of(classes, wordnet.nouns)
    rows = dict(own)
    for offset, kinds in hypernyms(own, wordnet.nouns, int(LARGEST_SHARE * len(classes))).items():
        target = np.zeros(len(classes), np.float32)
        target[kinds] = 1 / len(kinds)
        rows[offset] = len(targets)
        names += [Name(text, "en", len(targets), "WordNet") for text in wordnet.nouns[offset].words]
        targets.append(target)
    if table is not None:
        told = read_table(table, {one.synset: row for row, one in enumerate(classes)})
        names += [name for name in told if not locales or name.language in locales]
    if emoji is not None:
        names += cldr_names(emoji, rows, wordnet.senses, locales)
    names = list(dict.fromkeys(names))
    known = Counter(name.language for name in names)
    return Concepts(classes, np.stack(targets), [name for name in names if known[name.language] >= least])


def synsets_of(classes: list[ImageNetClass], nouns: dict[str, Synset]) -> dict[str, int]:
    """The rows of the classes by their offsets in this version of WordNet, where it has them."""
    finder = Finder(nouns)
    found = ((finder.find(one.names, one.definition), row) for row, one in enumerate(classes))
    return {offset: row for offset, row in found if offset is not None}


def hypernyms(own: Mapping[str, int], nouns: dict[str, Synset], most: int) -> dict[str, list[int]]:
    """What classes are kinds of: offsets in ascending order, each with the rows of its kinds, at most `most`.

    What only one class is a kind of counts where it is its very next hypernym: a horse is what ImageNet has
    sorrels of, and no odd-toed ungulate is.
    """
    below: dict[str, list[int]] = {}
    for offset, row in own.items():
        for ancestor in ancestors(nouns, offset):
            below.setdefault(ancestor, []).append(row)
    next_ones = {hypernym for offset in own for hypernym in nouns[offset].hypernyms}
    return {
        offset: sorted(below[offset])
        for offset in sorted(below)
        if offset not in own
        and len(below[offset]) <= most
        and (len(below[offset]) > 1 or offset in next_ones)
    }


def read_table(path: Path, rows: Mapping[str, int]) -> list[Name]:
    """The names of classes in a table; synsets that are no class and languages without a code are left out.

    Raises:
        DataError: it cannot be read, or lacks a column.
    """
    return [
        Name(text, language, rows[line["synset"]], line["source"] or "unknown")
        for line in _lines(path)
        if line["synset"] in rows and (language := language_of(line["language"] or ""))
        for text in _texts(line["lemma"] or "")
    ]


def sources_of(names: Iterable[Name], table: Path | None = None) -> dict[str, str]:
    """Where the names are from, each source with its licence.

    Raises:
        DataError: the table is not of the form.
    """
    told = (
        {line["source"] or "unknown": line["licence"] or "unknown" for line in _lines(table)} if table else {}
    )
    return {source: (LICENCES | told)[source] for source in sorted({name.source for name in names})}


def _lines(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            lacking = set(COLUMNS) - set(table.fieldnames or ())
            if lacking:
                raise DataError(f"{path} lacks the column {min(lacking)}; its first line must name {COLUMNS}")
            return list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _texts(lemma: str) -> Iterable[str]:
    for text in lemma.split("|"):
        text = " ".join(text.replace("_", " ").split())
        if 0 < len(text) <= MOST_LETTERS:
            yield text


def cldr_names(
    emoji: Path,
    rows: Mapping[str, int],
    senses: Mapping[str, Sequence[str]],
    locales: Sequence[str] = (),
) -> list[Name]:
    """Names in these locales, or all, of the emoji whose English name most often means a target.

    Args:
        rows: of targets, by the offset of their synset.
        senses: offsets of what a word means, the most frequent first. Rare ones do not count: a computer
            mouse is the fourth thing that "mouse" means, and the emoji shows the first.
    """
    joined = {}
    for character, caption in data.read_locale(emoji, "en").items():
        meant = [
            rows[offset] for offset in senses.get(caption["name"].lower(), ())[:FREQUENT] if offset in rows
        ]
        if meant:
            joined[character] = meant[0]
    return [
        Name(captions[character]["name"], locale, target, "CLDR")
        for locale in locales or data.locales_of(emoji)
        if (captions := data.read_locale(emoji, locale))
        for character, target in joined.items()
        if character in captions
    ]
