"""Pictures small enough that a dozen of them do not fill a model's context."""

from __future__ import annotations

import io

SIDE = 384
"""Pixels of the longer side of what is made smaller."""
BYTES = 30_000
"""Of a JPEG that is given as it is."""


def small(jpeg: bytes) -> bytes:
    """A JPEG as it is where it is small, and else made smaller, if Pillow is there and can read it."""
    if len(jpeg) <= BYTES:
        return jpeg
    try:
        from PIL import Image
    except ImportError:
        return jpeg
    stream = io.BytesIO()
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            image.draft("RGB", (SIDE, SIDE))
            shown = image.convert("RGB")
            shown.thumbnail((SIDE, SIDE))
            shown.save(stream, "JPEG", quality=80)
    except Exception:  # Pillow's readers raise nearly anything on what they cannot read.
        return jpeg
    return min(stream.getvalue(), jpeg, key=len)
