"""What a cosine with a query means: the curves of a model, and the one of a query of several terms.

    calibration = read_search_calibration("photographs.index/calibration.json")
    curve = calibration.curve(kinds=["text", "text"], weights=[1.0, -0.5], vectors=vectors, candidates=40_000)
    curve.threshold  # the cosine at which a hit is as likely to fit as not

A text and the image that it describes have a far lower cosine than two images of the same thing have, so
there is a curve for each.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from babelclip.errors import SpaceMismatch
from babelclip.search.calibration import FORMAT, Calibration, calibration_from, sigmoid

Kind = Literal["text", "image"]
"""Of a term: rows of an index are images, so a row that others are to be like is one."""

FILE = "calibration.json"
"""The name of the file in the folder of an index."""


@dataclass(frozen=True)
class MatchCurve:
    """P(fits) = σ(slope · cosine + offset) for the cosines of one query; the slope is above 0."""

    slope: float
    offset: float

    @property
    def threshold(self) -> float:
        """The cosine at which the probability is a half."""
        return -self.offset / self.slope

    def probability(self, cosines: ArrayLike) -> NDArray[np.float64]:
        """Cosines of any shape → probabilities, from 0 to 1."""
        return sigmoid(self.slope * np.asarray(cosines, dtype=np.float64) + self.offset)


@dataclass(frozen=True)
class SearchCalibration:
    """What cosines of images with texts, and with images, mean in one embedding space.

    Attributes:
        space: of the vectors.
        text, image: the curve of each kind of query; None where it was not measured.
    """

    space: str
    text: Calibration | None = None
    image: Calibration | None = None

    def __post_init__(self) -> None:
        for curve in (self.text, self.image):
            if curve is not None and curve.space != self.space:
                raise SpaceMismatch(f"the curves are of the spaces {self.space} and {curve.space}")

    def curve(
        self, *, kinds: Sequence[Kind], weights: Sequence[float], vectors: ArrayLike, candidates: int
    ) -> MatchCurve | None:
        """The curve of a query of T terms: of the cosine with their weighted sum.

        By itself a term's cosine is as good as chance at the cosine tᵢ where its own curve says a half, and
        µᵢ with what has nothing to do with it. A row that fits just so has tᵢ with what is added and µᵢ with
        what is subtracted, and its cosine with the query s = Σ wᵢ uᵢ is (Σ₊ wᵢ tᵢ + Σ₋ wᵢ µᵢ) / ‖s‖. Where
        the cosines of what is added grow together, the query's grows Σ₊ wᵢ / ‖s‖ as fast. For one term it
        is that term's curve.

        Args:
            kinds: of each term.
            weights: T of them.
            vectors: [T, D], each of length 1.
            candidates: N rows that are compared. More of them need a higher cosine, since the best of those
                that do not fit is better; but more of them fit, too. √N are taken to, so the prior's odds
                lower the logit by ½ ln(N - 1).

        Returns:
            None where a curve is missing, does not rise with the cosine, or nothing is added.
        """
        added = slope = reached = 0.0
        for kind, weight in zip(kinds, weights, strict=True):
            calibration = self.text if kind == "text" else self.image
            if calibration is None or calibration.slope <= 0:
                return None
            if weight > 0:
                added += weight
                slope += weight * calibration.slope
                odds = math.log(max(1, candidates - 1)) / 2
                reached += weight * (odds - calibration.offset) / calibration.slope
            else:
                reached += weight * calibration.unrelated
        if not added:
            return None
        length = float(np.linalg.norm(np.asarray(weights) @ np.asarray(vectors, dtype=np.float64)))
        steepness = slope / added * length / added
        return MatchCurve(steepness, -steepness * reached / length)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON.

        Raises:
            OSError: the file cannot be written.
        """
        Path(path).write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n", "utf-8")


def read_search_calibration(path: str | os.PathLike[str]) -> SearchCalibration:
    """What `SearchCalibration.save` wrote, or `Calibration.save`, which is of texts alone.

    Raises:
        ValueError: the file holds something else.
        OSError: it cannot be read.
    """
    try:
        raw: Any = json.loads(Path(path).read_bytes())
        if "slope" in raw:
            text = calibration_from(raw)
            return SearchCalibration(text.space, text=text)
        if raw["format"] != FORMAT:
            raise ValueError(f"its format is {raw['format']!r}, not {FORMAT}")
        curves = {
            kind: calibration_from({"format": FORMAT, **raw[kind]})
            for kind in ("text", "image")
            if raw[kind] is not None
        }
        return SearchCalibration(str(raw["space"]), **curves)
    except (SpaceMismatch, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)} is no calibration: {error}") from error
