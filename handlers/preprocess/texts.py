"""One text as it came → a string that can be cut into tokens, or what is wrong with it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from handlers.errors import EMPTY_ITEM, INVALID_UTF8, TEXT_TOO_LONG, ItemError

# White space, controls and format characters: bidi marks, zero-width ones, the soft hyphen, tags, the BOM.
_UNSEEN = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})
# Format characters that are drawn all the same: Unicode's Prepended_Concatenation_Mark.
_DRAWN = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd",
)
# Letters, marks and unassigned code points of Unicode's Default_Ignorable_Code_Point, which Python's tables
# lack: joiners, fillers, variation selectors. And the braille pattern without a dot, which is a symbol.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff\u2800]"
)


@dataclass(frozen=True, slots=True)
class TextInLanguage:
    """A text, and the token that tells the tower its language."""

    text: bytes | str
    token: int


def read_text(payload: bytes | str, *, max_bytes: int) -> str:
    """UTF-8 or a string → the text as it came, but for a byte order mark, which is no part of it.

    Raises:
        ItemError: `text_too_long` with more than `max_bytes` of UTF-8, `invalid_utf8`, or `empty_item` where
            no character is visible.
    """
    # A JSON string can hold half of a surrogate pair, which is no character and has no UTF-8.
    try:
        encoded = payload if isinstance(payload, bytes) else payload.encode()
        if len(encoded) > max_bytes:
            raise ItemError(
                TEXT_TOO_LONG, f"the text has {len(encoded):,} bytes; at most {max_bytes:,} are allowed"
            )
        text = payload if isinstance(payload, str) else payload.decode()
    except UnicodeError as error:
        raise ItemError(INVALID_UTF8, "the text is not valid UTF-8") from error
    if not is_visible(text):
        raise ItemError(EMPTY_ITEM, "the text is empty; at least one visible character is needed")
    return text.removeprefix("\ufeff")


def is_visible(text: str) -> bool:
    """Whether a text has a visible character; of most texts the first is one."""
    return "!" <= text[:1] <= "~" or any(map(_is_drawn, text))


def is_unknown(text: str, spans: Iterable[tuple[int, int]]) -> bool:
    """Whether the spans of a text that its tokenizer does not know matter for its meaning.

    They do when one of them has a letter or a digit, or when nothing outside them is visible. `spans` are
    (start, end), ascending.
    """
    known, at = [], 0
    for start, end in spans:
        if any(map(str.isalnum, text[start:end])):
            return True
        known.append(text[at:start])
        at = end
    return not is_visible("".join(known) + text[at:])


def _is_drawn(char: str) -> bool:
    if unicodedata.category(char) in _UNSEEN:
        return char in _DRAWN
    return not _BLANK.match(char)
