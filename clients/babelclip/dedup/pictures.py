"""Whether two thumbnails show one picture: as it is, cut off at its sides, or mirrored.

Each thumbnail is reduced to 32×32 grey values. One is laid whole on parts of the other, which lack up to 12
% at each side, and the correlation of 16×16 values says how well they agree. What agrees well is laid more
exactly, and then what still differs is looked at: noise and changed colours differ a little everywhere,
another thing in front of the same ground differs in one place. Brightness, contrast, size and proportions
do not count.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
Picture = NDArray[np.void]

SIDE = 32
"""Values a side of what is kept of a thumbnail."""
_COMPARED = 16  # values a side of what is laid on each other
_CUTS = (0.0, 0.04, 0.08, 0.12)  # of a side
_FLAT = 2.0  # grey levels: what deviates less is one plain colour
_SAME_COLOUR = 6.0  # levels
_MOST_PIXELS = 4096 * 4096  # of a thumbnail; a larger one is none

PICTURE = np.dtype(
    [("grey", np.uint8, (SIDE, SIDE)), ("colour", np.float32, 3), ("plain", np.bool_), ("known", np.bool_)]
)
"""What is kept of a thumbnail: grey values, the mean colour, whether it is plain, and whether it is known."""


def picture(thumbnail: bytes) -> Picture:
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
        made["plain"] = made["grey"].std() < _FLAT
        made["known"] = True
    return made


def agreements(one: Picture, others: Picture) -> tuple[Values, NDArray[np.int64]]:
    """How well one picture agrees with each of N others, of which each may be a part of it.

    Args:
        one: a PICTURE that is known.
        others: PICTURE [N], all known.

    Returns:
        float32 [N], -1 to 1, and how each is laid on `one`, int64 [N], for `lay`.
    """
    wholes = _whole(others)
    asked = np.stack([wholes, wholes[:, :, ::-1]], axis=1).reshape(2 * len(others), -1)
    # [parts, N, 2]: of each other its mirror image comes second.
    found = (_parts(one["grey"].astype(np.float32)) @ asked.T).reshape(-1, len(others), 2)
    flat = found.transpose(1, 0, 2).reshape(len(others), -1)
    how = flat.argmax(axis=1)
    best = np.take_along_axis(flat, how[:, None], axis=1)[:, 0]
    plain = others["plain"]
    if one["plain"]:
        apart = np.abs(others["colour"] - one["colour"]).max(axis=1)
        return np.where(plain & (apart <= _SAME_COLOUR), 1.0, -1.0).astype(np.float32), np.zeros_like(how)
    return np.where(plain, -1.0, best).astype(np.float32), how


def is_mirrored(how: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the ways that `agreements` found are those of mirror images."""
    return np.asarray(how % 2 == 1, dtype=np.bool_)


def lay(one: Picture, other: Picture, how: int) -> tuple[float, float]:
    """Lay a picture on another as exactly as can be, beginning from a way that `agreements` found.

    Returns:
        The correlation, -1 to 1; and how much they differ where they differ most: the squared differences of
        a sixteenth of the picture, when all its squared values are 1.
    """
    if one["plain"]:
        return 1.0, 0.0
    grey = one["grey"].astype(np.float32)
    part, mirrored = divmod(how, 2)
    (whole,) = _whole(other[None])
    if mirrored:
        whole = whole[:, ::-1]
    count = len(_CUTS) ** 2
    down, across = (_coarse_stretch(place) for place in divmod(part, count))
    for step in (2, 1):
        for _ in range(2):
            down = _better(down, step, grey @ _FINE[across].T, whole)
            across = _better(across, step, grey.T @ _FINE[down].T, whole.T)
    (laid,) = _standardised((_FINE[down] @ grey @ _FINE[across].T)[None])
    agreement = float((laid * whole).sum())
    sums = np.pad(((agreement * laid - whole) ** 2).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    size = _COMPARED // 4
    blocks = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    return agreement, float(blocks.max())


def _whole(pictures: Picture) -> Values:
    """PICTURE [N] → float32 [N, 16, 16], standardised."""
    reduced = _WHOLE @ pictures["grey"].astype(np.float32) @ _WHOLE.T
    return _standardised(np.asarray(reduced, dtype=np.float32))


def _better(stretch: tuple[int, int], step: int, reduced: Values, whole: Values) -> tuple[int, int]:
    """Of a stretch and those around it the one that agrees best; the other direction is reduced already."""
    begins = np.clip(stretch[0] + step * np.array([-1, 0, 1]), 0, _MOST_CUT).repeat(3)
    ends = np.clip(stretch[1] + step * np.tile([-1, 0, 1], 3), 0, _MOST_CUT)
    laid = _standardised(_FINE[begins, ends] @ reduced)
    best = int((laid * whole).sum(axis=(1, 2)).argmax())
    return int(begins[best]), int(ends[best])


def _averages(begin: float, end: float) -> Values:
    """What reduces the stretch from `begin` to `end` of SIDE values to _COMPARED means: [16, 32]."""
    edges = np.linspace(begin * SIDE, end * SIDE, _COMPARED + 1)
    low, high = edges[:-1, None], edges[1:, None]
    values = np.arange(SIDE)
    shares = np.clip(np.minimum(high, values + 1) - np.maximum(low, values), 0, None) / (high - low)
    return np.asarray(shares, dtype=np.float32)


def _coarse_stretch(place: int) -> tuple[int, int]:
    """Hundredths that are cut off at the two ends, of a stretch of _STRETCHES."""
    begin, end = divmod(place, len(_CUTS))
    return round(100 * _CUTS[begin]), round(100 * _CUTS[end])


_WHOLE = _averages(0.0, 1.0)
_STRETCHES = np.concatenate([_averages(begin, 1 - end) for begin in _CUTS for end in _CUTS])  # [16 · 16, 32]
_STRETCHES_ACROSS = np.ascontiguousarray(_STRETCHES.T)
_MOST_CUT = 20  # hundredths
_FINE = np.array(  # [21, 21, 16, 32]: by the hundredths that are cut off at both ends
    [
        [_averages(begin / 100, 1 - end / 100) for end in range(_MOST_CUT + 1)]
        for begin in range(_MOST_CUT + 1)
    ]
)


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
    standardised = np.asarray(flat / np.maximum(lengths, 1e-3 * _COMPARED), dtype=np.float32)
    return standardised.reshape(values.shape)
