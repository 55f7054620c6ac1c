"""Bytes of a file that may hold anything but UTF-16, which is refused as a whole by its first two."""

import codecs

from hypothesis import strategies as st


def any_bytes(max_size: int) -> st.SearchStrategy[bytes]:
    """So many bytes at most."""
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return st.binary(max_size=max_size).filter(lambda data: not data.startswith(marks))
