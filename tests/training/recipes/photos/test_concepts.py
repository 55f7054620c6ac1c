"""What names mean: classes, hypernyms, a table of other languages, and CLDR's names."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.training.recipes.photos.nouns import INDEX, NOUNS
from training.datasets.rows import DataError
from training.recipes.photos import concepts
from training.recipes.photos.concepts import ImageNetClass, Name
from training.recipes.photos.languages import language_of
from training.recipes.photos.wordnet import WordNet, read_nouns, read_senses

CLASSES = [
    ImageNetClass("n00000001", ("pug", "pug-dog"), "small compact"),
    ImageNetClass("n00000002", ("toy",), "any of several breeds"),
    *(ImageNetClass(f"n0000001{i}", (f"thing {i}",), "unknown to WordNet") for i in range(8)),
]
WORDS = WordNet(read_nouns(NOUNS.splitlines()), read_senses(INDEX.splitlines()))
TABLE = """synset	language	lemma	source	licence
n00000001	deu	Mops	Wiktionary	CC BY-SA
n00000001	fra	carlin|chien_carlin	WOLF	CeCILL-C
n00000001	*roa-jer	carlin	Wiktionary	CC BY-SA
n99999999	deu	Einhorn	Wiktionary	CC BY-SA
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "names.tsv"
    path.write_text(TABLE, encoding="utf-8")
    return path


@pytest.fixture
def emoji(tmp_path: Path) -> Path:
    """CLDR's names of a class, of a hypernym, of what seldom means a class, and of none of them."""
    named = {
        "en": {"🐶": "Pug", "🐕": "dog", "🧸": "toy", "☕": "hot beverage"},
        "ja": {"🐶": "パグ", "🐕": "犬", "🧸": "おもちゃ", "☕": "温かい飲み物"},
    }
    (tmp_path / "emoji" / "captions").mkdir(parents=True)
    for locale, names in named.items():
        rows = {character: {"name": name, "keywords": []} for character, name in names.items()}
        (tmp_path / "emoji" / "captions" / f"{locale}.json").write_text(json.dumps(rows))
    return tmp_path / "emoji"


def test_names_of_every_source_mean_classes(table: Path, emoji: Path) -> None:
    """Protects what is learned: each name has its language and target, a hypernym means all its kinds."""
    found = concepts.gather(CLASSES, WORDS, table, emoji)
    assert np.array_equal(found.targets[: len(CLASSES)], np.eye(len(CLASSES)))
    assert np.allclose(found.targets.sum(1), 1)
    animal = next(name for name in found.names if name.text == "animal")
    assert found.targets[animal.target].tolist() == [0.5, 0.5, *[0] * 8]
    dog = next(name for name in found.names if name.text == "dog")
    assert found.targets[dog.target].tolist() == [1, *[0] * 9], "its one kind is a class"
    assert Name("Mops", "de", 0, "Wiktionary") in found.names
    assert {name.text for name in found.of_language("fr")} == {"carlin", "chien carlin"}
    assert {(name.text, name.target) for name in found.of_language("ja")} == {
        ("パグ", 0),
        ("犬", dog.target),
    }, "a toy is seldom a breed of dogs"
    assert found.languages() == ["de", "en", "fr", "ja"]
    some = concepts.gather(CLASSES, WORDS, table, emoji, ["ja"])
    assert some.languages() == ["en", "ja"]
    some = concepts.gather(CLASSES, WORDS, table, emoji, least=2)
    assert some.languages() == ["en", "fr", "ja"], "of German there is one name"


def test_the_recipe_works_without_a_table(emoji: Path) -> None:
    """Protects people who have the packages alone: CLDR's names are there, and nothing else is missed."""
    found = concepts.gather(CLASSES, WORDS, None, emoji)
    assert found.languages() == ["en", "ja"]
    assert concepts.sources_of(found.names) == concepts.LICENCES


@pytest.mark.parametrize("text", ["synset\tlemma\nn1\tMops\n", "", "\x00"])
def test_a_table_of_another_form_is_refused(text: str, tmp_path: Path) -> None:
    """Protects from a run on nothing: a table that lacks a column is named with what it must have."""
    (tmp_path / "names.tsv").write_text(text)
    with pytest.raises(DataError, match=r"names\.tsv (lacks the column|cannot be read)"):
        concepts.read_table(tmp_path / "names.tsv", {})
    with pytest.raises(DataError, match="cannot be read"):
        concepts.read_table(tmp_path / "nowhere.tsv", {})


def test_the_classes_of_imagenet_are_all_there() -> None:
    """Protects the order of the classifier's rows, which is that of the synsets."""
    found = concepts.imagenet()
    assert len(found) == concepts.CLASSES
    assert (found[0].synset, found[0].names[0]) == ("n01440764", "tench")
    assert found[207].names == ("golden retriever",)
    assert "fish" in found[1].definition or "carp" in found[1].definition


@pytest.mark.parametrize(("code", "due"), [("deu", "de"), ("vol", "vol"), ("*roa-jer", None), ("", None)])
def test_codes_are_cldrs_where_it_has_one(code: str, due: str | None) -> None:
    """Protects the joining of two sources: one language has one code."""
    assert language_of(code) == due
