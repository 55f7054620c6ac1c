"""Whether two thumbnails show one picture: as it is, cut off at its sides, or mirrored.

Each thumbnail is reduced to 32×32 grey values. One is laid whole on parts of the other, which lack up to 12 %
at each side, and the correlation of 16×16 values says how well they agree. Brightness, contrast, size and
proportions do not count.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]

SIDE = 32
"""Values a side of what is kept of a thumbnail."""
_COMPARED = 16  # values a side of what is laid on each other
_CUTS = (0.0, 0.04, 0.08, 0.12)  # of a side
_FLAT = 2.0  # grey levels: what deviates less is one plain colour
_SAME_COLOUR = 6.0  # levels
_MOST_PIXELS = 4096 * 4096  # of a thumbnail; a larger one is none

PICTURE = np.dtype([("grey", np.uint8, (SIDE, SIDE)), ("colour", np.float32, 3), ("known", np.bool_)])
"""What is kept of a thumbnail: its grey values, its mean colour, and whether there is one."""


def picture(thumbnail: bytes) -> NDArray[np.void]:
    """A JPEG → a PICTURE, which is not known where there are no bytes, or none that can be decoded."""
    from PIL import Image

    made = np.zeros((), dtype=PICTURE)
    if not thumbnail:
        return made
    # It came from an index that others may write to: nothing but a JPEG is decoded, and whatever is wrong
    # with it, the row is treated as one without.
    with contextlib.suppress(Exception):
        image = Image.open(io.BytesIO(thumbnail), formats=("JPEG",))
        if image.width * image.height > _MOST_PIXELS:
            return made
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
        small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
        made["grey"] = np.asarray(small.convert("L"))
        made["colour"] = np.asarray(small, dtype=np.float32).mean(axis=(0, 1))
        made["known"] = True
    return made


def agreements(one: NDArray[np.void], others: NDArray[np.void]) -> tuple[Values, NDArray[np.bool_]]:
    """How well one picture agrees with each of N others, of which each may be a part.

    Args:
        one: a PICTURE that is known.
        others: PICTURE [N], all known.

    Returns:
        float32 [N], -1 to 1, and whether each is rather the mirror image, bool [N].
    """
    wholes = _standardised(_WHOLE @ others["grey"].astype(np.float32) @ _WHOLE.T)  # [N, 16, 16]
    mirrored = wholes[:, :, ::-1]
    asked = np.stack([wholes, mirrored], axis=1).reshape(2 * len(others), -1)
    best = (_parts(one["grey"].astype(np.float32)) @ asked.T).max(axis=0).reshape(-1, 2)
    found: Values = best.max(axis=1)
    plain = np.array([_is_plain(other) for other in others], dtype=np.bool_)
    if _is_plain(one):
        apart = np.abs(others["colour"] - one["colour"]).max(axis=1)
        return np.where(plain & (apart <= _SAME_COLOUR), 1.0, -1.0).astype(np.float32), np.zeros_like(plain)
    found[plain] = -1.0
    return found, best[:, 1] > best[:, 0]


def _is_plain(one: NDArray[np.void]) -> bool:
    return float(one["grey"].std()) < _FLAT


def _averages(begin: float, end: float) -> Values:
    """What reduces the stretch from `begin` to `end` of SIDE values to _COMPARED means: [16, 32]."""
    edges = np.linspace(begin * SIDE, end * SIDE, _COMPARED + 1)
    low, high = edges[:-1, None], edges[1:, None]
    values = np.arange(SIDE)
    shares = np.clip(np.minimum(high, values + 1) - np.maximum(low, values), 0, None) / (high - low)
    return shares.astype(np.float32)


def _stretches() -> Iterable[tuple[float, float]]:
    return [(begin, 1 - end) for begin in _CUTS for end in _CUTS]


_WHOLE = _averages(0.0, 1.0)
_STRETCHES = np.concatenate([_averages(begin, end) for begin, end in _stretches()])  # [16 · 16, 32]
_STRETCHES_ACROSS = np.ascontiguousarray(_STRETCHES.T)


def _parts(grey: Values) -> Values:
    """Every stretch down with every stretch across, standardised: [256, 256]."""
    count = len(_STRETCHES) // _COMPARED
    laid = (_STRETCHES @ grey @ _STRETCHES_ACROSS).reshape(count, _COMPARED, count, _COMPARED)
    parts = laid.transpose(0, 2, 1, 3).reshape(count * count, _COMPARED, _COMPARED)
    return _standardised(parts).reshape(count * count, -1)


def _standardised(values: Values) -> Values:
    """[N, 16, 16] of mean 0 and length 1 each; what is next to plain stays near 0."""
    flat = values.reshape(len(values), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    lengths = np.sqrt(np.einsum("ij,ij->i", flat, flat))[:, None]
    standardised: Values = (flat / np.maximum(lengths, 1e-3 * _COMPARED)).reshape(values.shape)
    return standardised
