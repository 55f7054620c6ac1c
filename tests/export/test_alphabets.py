"""Letters of languages: the patterns CLDR writes them in, their forms, and the codes they are found by."""

import io
import json
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export import alphabets, golden
from export.alphabets import alphabet, collect, emoji_letters, is_letter, parse, read, write
from tests.places import MINI

NORMAL_FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")
CHARACTERS = st.characters(exclude_categories=["Cs"])


@pytest.mark.parametrize(
    ("pattern", "strings"),
    [
        ("[]", set()),
        ("[ab c]", {"a", "b", "c"}),
        ("[a-dñ]", {"a", "b", "c", "d", "ñ"}),
        ("[{ch}c{а\\u0301}]", {"ch", "c", "а́"}),
        (r"[\- \[ \] \\ \^ \& \: \{ \} {\\\-}]", {*"-[]\\^&:{}", "\\-"}),
        (r"['‘’ \"\u200E]", {*"'‘’\"\u200e"}),
        (r"[\u00E0-\u00E2 \U0001F600]", {*"àáâ😀"}),
        ("[\u00a0 \u202f]", {"\u00a0", "\u202f"}),
    ],
)
def test_what_cldr_writes_is_read(pattern: str, strings: set[str]) -> None:
    """Protects the letters of every language from a misread pattern."""
    assert parse(pattern) == strings


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "[", "a-z", "[a-z", "[z-a]", "[a-]", "[-a]", "[a-b-c]", "[a - c]"),
        *("[^a]", "[[a]]", "[a&b]", "[$]", "[:L:]", r"[\p{L}]"),
        *("[{}]", "[{a]", "[a}]", "[{a b}]", "[{ab}-{ad}]"),
        *(r"[\]", r"[\u12]", r"[\ud800]", r"[\U00110000]"),
    ],
)
def test_what_is_not_understood_is_refused(pattern: str) -> None:
    """Protects from silently dropping letters when CLDR begins to use more of the syntax."""
    with pytest.raises(ValueError, match="UnicodeSet"):
        parse(pattern)


@given(st.sets(st.text(CHARACTERS | st.sampled_from(r"[]{}\^&$:- '\"az"), min_size=1, max_size=3)))
def test_patterns_round_trip(strings: set[str]) -> None:
    """Protects the committed file from losing or gaining a string when it is written and read."""
    assert parse(write(strings)) == strings


@given(st.text(st.sampled_from(r"[]{}\^&$:- uUp0Daz") | CHARACTERS, max_size=20))
def test_every_pattern_is_read_or_refused(inner: str) -> None:
    """Protects the command from any other failure, whatever the package holds."""
    try:
        strings = parse(f"[{inner}]")
    except ValueError:
        return
    assert parse(write(strings)) == strings


@pytest.mark.parametrize(
    ("language", "letters", "foreign"),
    [
        ("en", "azAZéï", "ßжω中"),
        ("de", "äÄßẞ", "łжω"),
        ("tr", "ıIiİğĞ\u0307", "жł"),
        ("vi", "ệỆ\u0302\u0323đ", "ж"),
        ("el", "σςΣάΆ", "ж"),
        ("ru", "йЙёж\u0306\u0308", "zß"),
        ("hi", "क़ऩ\u093c\u094d", "জa"),
        ("ur", "ۓی\u0654", "a"),
        ("ko", "가힣ㄱ\u1100\u1161", "あ"),
        ("ja", "あアー々龍龘", "가"),
        ("zh", "中國国龘𠀀", "あ"),
        ("zh-Hant", "國龘", "あ"),
        ("sr-Latn", "čČđ", "ж"),
    ],
)
def test_alphabets_of_languages(language: str, letters: str, foreign: str) -> None:
    """Protects what a language is written with: capitals, composed and decomposed, the whole Han script."""
    assert not set(letters) - alphabet(language)
    assert not set(foreign) & alphabet(language)


def test_golden_texts_are_written_in_their_alphabets() -> None:
    """Protects real texts from <unk>, by texts that came from elsewhere than the alphabets."""
    for name, text in golden.TEXTS.items():
        if name not in ("emoji", "digits", "unknown"):
            language = name.removesuffix("-long").removesuffix("-word")
            assert {char for char in text if is_letter(char)} <= alphabet(language), name


LANGUAGES = (
    *("am", "ar", "bn", "de", "el", "fa", "hi", "hy", "ka", "ko", "lt", "ml", "my", "ne", "ru", "sa", "si"),
    *("ta", "th", "tr", "ur", "vi", "yo"),
)


@given(st.sampled_from(LANGUAGES), st.data())
def test_alphabets_hold_every_form_of_their_texts(language: str, data: st.DataObject) -> None:
    """Protects texts that a writer or a normaliser puts into another case or normal form."""
    strings = sorted(parse(alphabets._table()[language]))
    text = "".join(data.draw(st.lists(st.sampled_from(strings), max_size=8)))
    for _ in range(3):
        cases: tuple[Callable[[str], str], ...] = (str, str.lower, str.upper, str.title, str.casefold)
        case = data.draw(st.sampled_from(cases))
        text = unicodedata.normalize(data.draw(st.sampled_from(NORMAL_FORMS)), case(text))
        assert {char for char in text if is_letter(char)} <= alphabet(language)


@pytest.mark.parametrize("emoji", ["™️", "ℹ️", "Ⓜ️", "🈁", "🈂️", "🈶", "🈷️", "㊙️", "1️⃣", "❤️‍🔥", "👩🏽‍🚀", "🏴󠁧󠁢󠁷󠁬󠁳󠁿"])
def test_emoji_are_of_every_language(emoji: str) -> None:
    """Protects emoji that have marks in them, or that normal forms turn into letters."""
    for text in (emoji, *(unicodedata.normalize(form, emoji) for form in NORMAL_FORMS)):
        assert {char for char in text if is_letter(char)} <= emoji_letters()


@pytest.mark.parametrize(
    ("language", "same_as"), [("pt-BR", "pt"), ("de-1996", "de"), ("es-419", "es"), ("zh-Hant-TW", "zh-Hant")]
)
def test_regions_and_variants_fall_back(language: str, same_as: str) -> None:
    """Protects users from having to know for which regions CLDR has letters of their own."""
    assert alphabet(language) == alphabet(same_as)


@pytest.mark.parametrize(
    ("language", "hint"),
    [("zh-hant", "zh-Hant"), ("pt-br", "pt"), ("ru-Latn", "sr-Latn"), ("xx", ""), ("", ""), ("english", "")],
)
def test_unknown_languages_are_refused_by_name(language: str, hint: str) -> None:
    """Protects from a misspelt code, and from another script's letters, with the codes that may be meant."""
    with pytest.raises(ValueError, match=f"language '{language}'") as caught:
        alphabet(language)
    assert hint in str(caught.value)


def test_every_language_of_the_default_model_is_known() -> None:
    """Protects whoever trims the default model to some of the languages that it lists."""
    languages = json.loads((MINI / "meta.json").read_text(encoding="utf-8"))["languages"]
    assert all(alphabet(language) for language in languages)


def test_the_committed_file_is_small_and_readable() -> None:
    """Protects the repository's size, and the file's diffs when CLDR is updated."""
    text = alphabets.FILE.read_text(encoding="utf-8")
    assert len(text.encode()) < 100_000
    assert all(write(parse(pattern)) == pattern for pattern in json.loads(text)["languages"].values())


def test_letters_are_collected_from_a_package(tmp_path: Path) -> None:
    """Protects the command: which sets count, which locales are left out, and the whole Han script."""
    locales = {
        "ru": {"exemplarCharacters": "[а-в]", "punctuation-auxiliary": "[№ .]", "numbers": "[0-9 {<LRM>}]"},
        "ru-KZ": {"exemplarCharacters": "[а-в]", "punctuation": "[№ !]"},
        "ru-UA": {"exemplarCharacters": "[а-г]", "auxiliary": "[ґ]"},
        "zh": {"exemplarCharacters": "[一 丁]", "index": "[A-Z]"},
        "und": {"exemplarCharacters": "[]", "numbers": "[0-9 A]"},
    }
    package = tmp_path / "cldr.tgz"
    with tarfile.open(package, "w:gz") as tar:
        for locale, characters in locales.items():
            document = json.dumps({"main": {locale: {"identity": {}, "characters": characters}}}).encode()
            member = tarfile.TarInfo(f"package/main/{locale}/characters.json")
            member.size = len(document)
            tar.addfile(member, io.BytesIO(document))
        tar.addfile(tarfile.TarInfo("package/main/ru/layout.json"))
    assert read(package) == locales
    table = {language: parse(pattern) for language, pattern in collect(locales).items()}
    assert table == {"ru": {*"абв№"}, "ru-UA": {*"абвгґ"}, "zh": parse(alphabets.HAN) | parse("[A-Z]")}
