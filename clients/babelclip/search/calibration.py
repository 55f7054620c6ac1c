"""How a cosine becomes a probability that a text and an image belong together, and so a "no match".

    # captions[i] belongs to images[i]
    calibration = calibrate(client.embed_texts(captions), client.embed_images(images))
    calibration.save("calibration.json")

A softmax over candidates says which fits best, not whether any does; and a cosine of 0.3 is a match for one
model and nothing for another. So what a cosine means is measured, once for each model, on a hundred or more
pairs that belong together and, by combining them anew, on as many thousand that do not.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from babelclip.embeddings import Embeddings
from babelclip.errors import SpaceMismatch
from babelclip.similarity import similarity

FORMAT = 1
FEWEST = 20  # pairs: with fewer, chance decides where a match begins
STEPS = 100


@dataclass(frozen=True)
class Calibration:
    """P(match) = σ(slope · cosine + offset), where matches and others are equally many (Platt, 1999).

    Attributes:
        space: the embedding space whose cosines it is for.
        slope, offset: of the logistic curve.
        pairs: how many it was measured on.
        others: the mean cosine of what does not belong together; None where it was not measured.
    """

    space: str
    slope: float
    offset: float
    pairs: int
    others: float | None = None

    @property
    def unrelated(self) -> float:
        """`others`, or else the cosine at which one in fifty is a match; the slope must not be 0."""
        if self.others is not None:
            return self.others
        return (-math.log(49) - self.offset) / self.slope

    def probability(self, cosines: ArrayLike, candidates: int = 2) -> NDArray[np.float64]:
        """Cosines of any shape → the probability of each that it is a match, when one among `candidates` is.

        Among more candidates the best of those that do not match is better, so each needs a higher cosine:
        the logit is lowered by ln(candidates - 1), the prior's odds.

        Raises:
            ValueError: there are fewer than 1 candidates.
        """
        if candidates < 1:
            raise ValueError(f"there must be at least 1 candidate, not {candidates}")
        logits = self.slope * np.asarray(cosines, dtype=np.float64) + self.offset
        logits -= math.log(max(1, candidates - 1))
        return sigmoid(logits)

    def require(self, space: str) -> None:
        """Raises SpaceMismatch unless cosines of this space are what was measured."""
        if space and space != self.space:
            raise SpaceMismatch(
                f"the calibration is of the space {self.space}, the vectors are of {space}: calibrate again"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON.

        Raises:
            OSError: the file cannot be written.
        """
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1)
        Path(path).write_text(text + "\n", encoding="utf-8")


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """What `Calibration.save` wrote.

    Raises:
        ValueError: the file holds something else.
        OSError: it cannot be read.
    """
    try:
        return calibration_from(json.loads(Path(path).read_bytes()))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)} is no calibration: {error}") from error


def calibration_from(raw: Any) -> Calibration:
    """The content of a file as JSON → the calibration.

    Raises:
        ValueError, KeyError, TypeError, OverflowError: it is none.
    """
    if raw["format"] != FORMAT:
        raise ValueError(f"its format is {raw['format']!r}, not {FORMAT}")
    others = raw.get("others")
    found = Calibration(
        space=str(raw["space"]),
        slope=float(raw["slope"]),
        offset=float(raw["offset"]),
        pairs=int(raw["pairs"]),
        others=None if others is None else float(others),
    )
    if not all(math.isfinite(number) for number in (found.slope, found.offset, found.others or 0.0)):
        raise ValueError("its numbers are not finite")
    return found


def calibrate(texts: Embeddings, images: Embeddings) -> Calibration:
    """Fit the curve to N texts and the N images they belong to; pairs with a failed side are left out.

    Text i and image j with i ≠ j count as no match, so equal or similar captions should be there only once.

    Raises:
        ValueError: the sides differ in length, or fewer than 20 pairs are whole.
        SpaceMismatch: the sides are of different spaces.
    """
    if len(texts) != len(images):
        raise ValueError(f"there are {len(texts)} texts for {len(images)} images")
    cosines = similarity(texts, images)
    whole = np.flatnonzero(texts.ok & images.ok)
    if len(whole) < FEWEST:
        raise ValueError(f"a calibration needs at least {FEWEST} pairs, not {len(whole)}")
    square: NDArray[np.float64] = cosines[np.ix_(whole, whole)].astype(np.float64)
    own = np.eye(len(whole), dtype=bool)
    return fit_calibration(texts.space, square[own], square[~own])


def fit_calibration(space: str, matches: ArrayLike, others: ArrayLike) -> Calibration:
    """The curve of cosines [M] of what belongs together, and [N] of what does not.

    Raises:
        ValueError: there are fewer than 20 of the one, or none of the other.
    """
    good, bad = np.asarray(matches, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if len(good) < FEWEST or not len(bad):
        raise ValueError(
            f"a calibration needs at least {FEWEST} pairs and others, not {len(good)}, {len(bad)}"
        )
    slope, offset = _fit(good, bad)
    return Calibration(space, slope, offset, len(good), float(bad.mean()))


def _fit(matches: NDArray[np.float64], others: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and offset by Newton's method; both classes weigh the same.

    The targets are Platt's, just short of 0 and 1, so that classes which do not overlap have a finite slope.
    """
    x = np.concatenate([matches, others])
    centre, width = float(x.mean()), float(x.std()) or 1.0
    design = np.stack([(x - centre) / width, np.ones_like(x)], axis=1)
    high, low = (len(matches) + 1) / (len(matches) + 2), 1 / (len(others) + 2)
    target = np.concatenate([np.full(len(matches), high), np.full(len(others), low)])
    weight = np.concatenate(
        [np.full(len(matches), 0.5 / len(matches)), np.full(len(others), 0.5 / len(others))]
    )
    found = np.zeros(2)

    def loss(at: NDArray[np.float64]) -> float:
        logits = design @ at
        return float(weight @ (np.logaddexp(0.0, logits) - target * logits))

    for _ in range(STEPS):
        p = sigmoid(design @ found)
        gradient = design.T @ (weight * (p - target))
        curvature = design.T @ (design * (weight * p * (1 - p))[:, None]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > 1e-6 and loss(found - size * step) > loss(found):
            size /= 2
        found = found - size * step
        if np.abs(size * step).max() < 1e-9:
            break
    return float(found[0] / width), float(found[1] - found[0] * centre / width)


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)) of each, without overflow."""
    result: NDArray[np.float64] = np.exp(-np.logaddexp(0.0, -logits))
    return result
