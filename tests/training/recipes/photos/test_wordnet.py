"""WordNet's nouns: what is read of data.noun, and how a synset of another version is found again."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.recipes.photos.nouns import INDEX, NOUNS
from training.recipes.photos.wordnet import Finder, WordNetError, ancestors, read_nouns, read_senses


def test_words_glosses_and_hypernyms_are_read() -> None:
    """Protects the reading of a line: hexadecimal counts, blanks in words, and pointers to nouns alone."""
    nouns = read_nouns(NOUNS.splitlines())
    assert len(nouns) == 5
    assert nouns["00000020"].words == ("dog", "domestic dog")
    assert nouns["00000020"].hypernyms == ("00000010",)
    assert nouns["00000030"].gloss == 'small compact breed; "a pug"'
    assert sorted(ancestors(nouns, "00000030")) == ["00000010", "00000020", "00000040"]


def test_senses_are_read_the_most_frequent_first() -> None:
    """Protects what a name means: the order of the index is that of frequency, and words have blanks."""
    senses = read_senses(INDEX.splitlines())
    assert senses["toy"] == ("00000050", "00000077", "00000040")
    assert senses["domestic dog"] == ("00000020",)
    with pytest.raises(WordNetError, match="line 1 is no word"):
        read_senses(["toy n 2 2 @ ~ 2 0 00000050"])


@pytest.mark.parametrize(
    ("words", "definition", "offset"),
    [
        (("pug", "Pug-dog"), "another gloss", "00000030"),
        (("toy",), "an artifact designed", "00000050"),
        (("toy",), "any of several", "00000040"),
        (("domestic dog", "Canis familiaris"), "a member of", "00000020"),
        (("domestic dog", "Canis familiaris"), "something else", None),
        (("unicorn",), "a member of", None),
    ],
)
def test_a_synset_of_another_version_is_found(
    words: tuple[str, ...], definition: str, offset: str | None
) -> None:
    """Protects from foreign hypernyms: words decide, then the gloss, and what fits neither is not found."""
    assert Finder(read_nouns(NOUNS.splitlines())).find(words, definition) == offset


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_any_line_is_a_noun_or_refused(line: str) -> None:
    """Protects the parser: a line is read or named as no noun, whatever it holds."""
    with contextlib.suppress(WordNetError):
        assert len(read_nouns([line])) <= 1
    with contextlib.suppress(WordNetError):
        assert len(read_senses([line])) <= 1
