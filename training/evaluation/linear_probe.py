"""Linear probe: how well a logistic regression on a model's vectors tells classes apart.

After "Learning Transferable Visual Models From Natural Language Supervision", Radford et al. 2021, A.3, whose
protocol CLIP_benchmark's `linear_probe` has taken over: vectors of length 1; the strength of the L2
regularisation is what does best on a validation split, looked for from 1e-6 to 1e6 with 8 steps a decade, by
halving the interval around the best; the last fit is of training and validation images together. The fit is
scikit-learn's, by L-BFGS with at most 1000 iterations, as in the paper; CLIP_benchmark's own takes AdamW.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.errors import EvaluationError

STRENGTHS = np.logspace(-6, 6, 97)
"""The values of scikit-learn's C that are tried: the inverse of the regularisation's weight."""
COARSE = 16  # steps of STRENGTHS between the first that are tried: 1e-6, 1e-4, … 1e6
ITERATIONS = 1000

Features = NDArray[np.float64]
Labels = NDArray[np.int64]
Score = Callable[[Features, Labels], float]
"""Logits [N, classes] and labels [N] → how good, the higher the better."""


@dataclass(frozen=True)
class Labelled:
    """Vectors [N, D] and the number of each one's class, int64 [N], from 0."""

    features: Features
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> "Labelled":
        """Some of the rows."""
        return Labelled(self.features[rows], self.labels[rows])

    def join(self, other: "Labelled") -> "Labelled":
        """These rows, then the other's."""
        return Labelled(
            np.concatenate([self.features, other.features]), np.concatenate([self.labels, other.labels])
        )


@dataclass(frozen=True)
class LinearClassifier:
    """weight float64 [classes, D] and bias float64 [classes], -inf for a class that no vector was of."""

    weight: Features
    bias: NDArray[np.float64]

    def logits(self, features: Features) -> Features:
        """[N, D] → [N, classes]."""
        found: Features = features @ self.weight.T + self.bias
        return found


def fit(data: Labelled, classes: int, strength: float) -> LinearClassifier:
    """scikit-learn's multinomial logistic regression with C = `strength`.

    Raises:
        EvaluationError: scikit-learn is not installed, or all vectors are of one class.
    """
    linear_model, not_converged = _scikit_learn()
    present = np.unique(data.labels)
    if len(present) < 2:
        raise EvaluationError("a linear probe needs images of at least two classes to learn from")
    model = linear_model.LogisticRegression(C=strength, max_iter=ITERATIONS)
    with warnings.catch_warnings():
        # With next to no regularisation it may not; the sweep then finds another strength better.
        warnings.simplefilter("ignore", not_converged)
        model.fit(data.features, data.labels)
    weight, bias = np.asarray(model.coef_), np.asarray(model.intercept_)
    if len(present) == 2:  # One row says how much the second is likelier than the first.
        weight, bias = np.stack([-weight[0], weight[0]]) / 2, np.array([-bias[0], bias[0]]) / 2
    full = LinearClassifier(np.zeros((classes, data.features.shape[1])), np.full(classes, -np.inf))
    full.weight[present], full.bias[present] = weight, bias
    return full


def accuracy(logits: Features, labels: Labels) -> float:
    """The share of rows whose highest logit is their label's."""
    return float((logits.argmax(axis=1) == labels).mean())


def log_likelihood(logits: Features, labels: Labels) -> float:
    """The mean logarithm of the probability that the softmax gives each row's label."""
    highest = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
    return float((logits[np.arange(len(labels)), labels] - total).mean())


def best_strength(
    train: Labelled, validation: Labelled, classes: int, score: Score = accuracy
) -> tuple[float, float]:
    """The C whose fit of `train` has the highest score on `validation`, and that score.

    Of strengths that are equally good, the one with the stronger regularisation.

    Raises:
        EvaluationError: as in `fit`.
    """
    known: dict[int, float] = {}

    def score_at(step: int) -> float:
        if step not in known:
            fitted = fit(train, classes, float(STRENGTHS[step]))
            known[step] = score(fitted.logits(validation.features), validation.labels)
        return known[step]

    best = max(range(0, len(STRENGTHS), COARSE), key=score_at)
    span = COARSE // 2
    while span:
        near = [step for step in (best - span, best, best + span) if 0 <= step < len(STRENGTHS)]
        best = max(near, key=score_at)
        span //= 2
    return float(STRENGTHS[best]), known[best]


def split(labels: Labels, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows for training and rows for validation, drawn at random.

    Of each class about `share` of its rows are for validation: at least one, unless it has only one, which
    trains.
    """
    chance = np.random.default_rng(seed)
    train: list[NDArray[np.int64]] = []
    validation: list[NDArray[np.int64]] = []
    for label in np.unique(labels):
        rows = chance.permutation(np.flatnonzero(labels == label))
        held = min(max(1, round(share * len(rows))), len(rows) - 1)
        validation.append(rows[:held])
        train.append(rows[held:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(validation))


def _scikit_learn() -> tuple[Any, type[Warning]]:
    try:
        from sklearn import linear_model
        from sklearn.exceptions import ConvergenceWarning
    except ImportError as error:
        raise EvaluationError(
            "logistic regression takes scikit-learn, which the group train of pyproject.toml has:"
            " `scripts/setup`, or `pip install scikit-learn`"
        ) from error
    return linear_model, ConvergenceWarning
