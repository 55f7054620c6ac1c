"""Texts as callers send them: what shows nothing is empty, and what shows is left as it came."""

from __future__ import annotations

import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from handlers.errors import ItemError
from handlers.preprocess.texts import is_unknown, is_visible, read_text

# Properties by their names in the Unicode Character Database; Python's tables lack these.
UNSEEN = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{White_Space}\p{Cc}\p{Cf}\u2800]")
DRAWN_FORMAT = regex.compile(r"\p{Prepended_Concatenation_Mark}")


def read(text: str | bytes) -> str:
    return read_text(text, max_bytes=16_384)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(" \t\r\n\u3000\u00a0\u2028", id="white-space"),
        pytest.param("\u200b", id="zero-width-space"),
        pytest.param("\u0000\u0007\u009f\u007f", id="controls"),
        pytest.param("\u200e\u202b\u2066\u2069\u061c", id="bidi-marks"),
        pytest.param("\u200c\u200d\u2060", id="joiners"),
        pytest.param("\ufe0f\ufe00\U000e0100\u180b", id="variation-selectors"),
        pytest.param("\u00ad", id="soft-hyphen"),
        pytest.param("\ufeff", id="byte-order-mark"),
        pytest.param("\ufeff\ufeff", id="two-byte-order-marks"),
        pytest.param("\U000e0067\U000e0062\U000e007f", id="tags"),
        pytest.param("\u3164\u115f\u1160\uffa0", id="hangul-fillers"),
        pytest.param("\u2800\u2800", id="braille-blank"),
        pytest.param(" \u200b\n\u2800\u034f\ufe0f\u0000 ", id="all-together"),
    ],
)
def test_what_shows_nothing_is_empty(text: str) -> None:
    """A caller whose text is lost hears of it, instead of getting the vector of an invisible character."""
    for payload in (text, text.encode()):
        with pytest.raises(ItemError) as caught:
            read(payload)
        assert caught.value.code == "empty_item"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("👩\u200d🚀", id="emoji-of-joined-parts"),
        pytest.param("❤\ufe0f", id="emoji-with-a-selector"),
        pytest.param("🏴\U000e0067\U000e0062\U000e007f", id="flag-of-tags"),
        pytest.param("می\u200cخواهم", id="persian-non-joiner"),
        pytest.param("ക്\u200d", id="malayalam-joiner"),
        pytest.param("\u200fשלום\u200e", id="bidi-marks-around"),
        pytest.param("a\u0000b", id="nul-inside"),
        pytest.param(" two lines\r\nand spaces  ", id="white-space-around"),
        pytest.param("ＦＵＬＬ", id="full-width"),
        pytest.param("?!…", id="punctuation"),
        pytest.param("\ufffd", id="replacement-character"),
        pytest.param("\u0601", id="a-format-character-that-is-drawn"),
        pytest.param("\u0301", id="a-mark-alone"),
        pytest.param("e\u0301", id="decomposed"),
        pytest.param("a" * 16_384, id="one-long-word"),
        pytest.param("price <s>9</s> euro", id="control-tokens"),
    ],
)
def test_what_shows_is_left_as_it_came(text: str) -> None:
    """Invisible characters mean something between visible ones, so nothing is taken from such a text."""
    assert read(text) == read(text.encode()) == text


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    """Programs of Windows put one before UTF-8; the same text without it has the same vector."""
    assert read("\ufeffcat") == read(b"\xef\xbb\xbfcat") == "cat"
    assert read("cat\ufeff") == "cat\ufeff"


def test_visibility_is_unicodes() -> None:
    """Every character that Unicode calls invisible counts as such, not only the ones that somebody met."""
    # Ideographs and private use aside, which hold nothing invisible.
    codes = [*range(0xD800), *range(0xF900, 0x20000), *range(0xE0000, 0xE1000)]
    # Python's tables may be of an older Unicode than those of regex.
    assigned = [char for char in map(chr, codes) if unicodedata.category(char) != "Cn" or char > "\U000dffff"]
    wrong = [
        f"{ord(char):04X}"
        for char in assigned
        if is_visible(char) == bool(UNSEEN.match(char) and not DRAWN_FORMAT.match(char))
    ]
    assert wrong == []


@given(st.one_of(st.text(), st.binary(), st.text(st.characters(categories=["Cf", "Cc", "Zs", "Mn", "Cn"]))))
def test_any_payload_is_read_or_refused(payload: str | bytes) -> None:
    """Whatever comes, there is either a text with something to see or a code, and nothing else is raised."""
    try:
        outcome = read(payload)
    except ItemError as fault:
        outcome = fault.code
    if outcome not in ("empty_item", "invalid_utf8"):
        whole = payload if isinstance(payload, str) else payload.decode()
        assert is_visible(outcome)
        assert outcome == whole.removeprefix("\ufeff")


@pytest.mark.parametrize(
    ("text", "spans", "matters"),
    [
        ("red heart", [], False),
        ("red \U00013000", [(4, 5)], True),
        ("red 7", [(4, 5)], True),
        ("red ☂!", [(4, 5)], False),
        ("☂ \u200b☂", [(0, 1), (3, 4)], True),
        ("☂☂", [(0, 2)], True),
        ("\ufe0fred", [(0, 1)], False),
    ],
)
def test_unknown_letters_matter_and_symbols_beside_words_do_not(
    text: str, spans: list[tuple[int, int]], matters: bool
) -> None:
    """Callers are told of what is missing from a vector, not of every emoji."""
    assert is_unknown(text, spans) == matters
