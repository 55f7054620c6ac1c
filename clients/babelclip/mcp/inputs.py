"""What a language model gives as arguments, checked; what is wrong with it is said in a sentence."""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, ValidationError

from babelclip.search.query import InvalidQuery, Term, parse_query

MOST_TEXT = 2_000
MOST_LABELS = 100
MOST_OFFSET = 100_000

Query = Annotated[
    str,
    Field(
        max_length=MOST_TEXT,
        description="What the image shows, in any language; -word names what should not be there.",
    ),
]
Image = Annotated[
    str | None,
    Field(description="An image in base64, or as a data URI; never an address or a path."),
]
Offset = Annotated[
    int, Field(ge=0, le=MOST_OFFSET, description="Go on here: the next_offset of the answer before.")
]
Filter = Annotated[
    dict[str, Any] | None,
    Field(
        description=(
            'Only images that it keeps: {"kind": "image"}, {"width": {"$gte": 800}},'
            ' {"$or": [{"caption": {"$contains": "dog"}}, {"taken": {"$lt": 1500000000}}]}. Every image has'
            " source, caption, kind, width, height, size and taken."
        )
    ),
]
Pictures = Annotated[bool, Field(description="Whether small pictures come with the answer.")]
Id = Annotated[str, Field(min_length=1, max_length=1_000, description="The id of an image that was found.")]
Labels = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200)]],
    Field(min_length=1, max_length=MOST_LABELS, description="Labels in any language, all different."),
]
Language = Annotated[
    str | None,
    Field(max_length=16, description="Puts labels into sentences of this language, by ISO 639-1 code."),
]

_DATA_URI = re.compile(r"data:image/[\w.+-]*;base64,", re.ASCII | re.IGNORECASE)


def terms(query: str, image: str | None) -> str | list[Term]:
    """A text, an image, or both.

    Raises:
        InvalidQuery: there is neither, or the image is no base64.
    """
    if image is None:
        if not query.strip():
            raise InvalidQuery("give a query, an image or both")
        return query
    return [*(parse_query(query) if query.strip() else []), Term(image=decoded(image))]


def decoded(image: str) -> bytes:
    """The bytes of an image in base64.

    Raises:
        InvalidQuery: it is none.
    """
    try:
        data = binascii.a2b_base64(_DATA_URI.sub("", image, count=1).strip(), strict_mode=True)
    except ValueError:  # binascii.Error is one; so is the error of a string that is not ASCII.
        raise InvalidQuery("the image is no base64; addresses and paths are not read") from None
    if not data:
        raise InvalidQuery("the image is empty")
    return data


def mistakes(error: ValidationError) -> str:
    """What is wrong with arguments, in a sentence that quotes none of them."""
    return "; ".join(f"{_place(one['loc'])}{one['msg'].lower()}" for one in error.errors()[:5])


def _place(parts: Sequence[int | str]) -> str:
    named = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    return f"{named}: " if named else ""
