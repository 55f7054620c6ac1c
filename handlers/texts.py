"""One text as it came → a string that can be cut into tokens, or what is wrong with it."""

from __future__ import annotations

from handlers.errors import EMPTY_ITEM, INVALID_UTF8, TEXT_TOO_LONG, ItemFault


def read_text(payload: bytes | str, *, max_bytes: int) -> str:
    """UTF-8 or a string → the text, unchanged.

    Raises:
        ItemFault: `text_too_long` with more than `max_bytes` of UTF-8, `invalid_utf8`, or `empty_item` where
            there is nothing but white space.
    """
    # A JSON string can hold half of a surrogate pair, which is no character and has no UTF-8.
    try:
        encoded = payload if isinstance(payload, bytes) else payload.encode()
        if len(encoded) > max_bytes:
            raise ItemFault(
                TEXT_TOO_LONG, f"the text has {len(encoded):,} bytes; at most {max_bytes:,} are allowed"
            )
        text = payload if isinstance(payload, str) else payload.decode()
    except UnicodeError as error:
        raise ItemFault(INVALID_UTF8, "the text is not valid UTF-8") from error
    if not text.strip():
        raise ItemFault(EMPTY_ITEM, "the text is empty; at least one visible character is needed")
    return text
