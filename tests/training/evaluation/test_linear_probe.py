import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.needs import needs
from training.evaluation import linear_probe as probe
from training.evaluation import tasks
from training.evaluation.embedding import Picture
from training.evaluation.errors import EvaluationError
from training.evaluation.linear_probe import Labelled

needs("sklearn", reason="scikit-learn is not installed")

DIM, NAMES = 12, ["cat", "dog", "fox", "owl", "eel", "ant"]


def cluster(label: int, number: int) -> Tensor:
    """A unit vector somewhere near to the middle of its class."""
    middle = torch.randn(DIM, generator=torch.Generator().manual_seed(label))
    noise = torch.randn(DIM, generator=torch.Generator().manual_seed(1000 + 100 * label + number))
    return F.normalize(middle + 1.4 * noise, dim=0)


@dataclass
class Split:
    """Images that say in a byte each which class and which one of it they are."""

    images: list[tuple[int, int]]
    several: bool = False
    name: str = "animals"

    def classes(self, language: str) -> list[str]:
        return NAMES

    def labels(self, classes: int) -> Tensor:
        if self.several:
            return torch.ones(len(self.images), classes, dtype=torch.bool)
        return torch.tensor([label for label, _ in self.images])

    def pictures(self) -> Iterator[Picture]:
        for label, number in self.images:
            yield Picture(f"{label}-{number}", bytes([label, number]))


class Model:
    """Embeds them."""

    name, pretrained, space = "model", "nowhere", "0123456789abcdef"

    def embed_texts(self, texts: list[str]) -> Tensor:
        raise AssertionError("a linear probe needs no texts")

    def embed_images(self, pictures: Iterable[Picture]) -> Tensor:
        return torch.stack([cluster(*picture.data) for picture in pictures])


def images(count: int, first: int = 0) -> list[tuple[int, int]]:
    """So many of each class; of the first class more."""
    return [(label, first + n) for label in range(6) for n in range(count + (3 if label == 0 else 0))]


def arrays(split: Split) -> tuple[np.ndarray, np.ndarray]:
    return Model().embed_images(split.pictures()).double().numpy(), split.labels(6).numpy()


@pytest.mark.parametrize("own_validation", [False, True])
def test_the_figures_are_those_of_scikit_learn(own_validation: bool) -> None:
    """Protects accuracy and mean per-class recall: scikit-learn has the same on the same vectors."""
    from sklearn import linear_model
    from sklearn import metrics as sklearn_metrics

    train, test, validation = Split(images(9)), Split(images(12, 40)), Split(images(4, 20))
    given_validation = validation if own_validation else None
    result = tasks.linear_probe(Model(), train, test, given_validation)
    x, y = arrays(train)
    if own_validation:
        more_x, more_y = arrays(validation)
        x, y = np.concatenate([x, more_x]), np.concatenate([y, more_y])
    asked, due = arrays(test)
    model = linear_model.LogisticRegression(C=result.settings["C"], max_iter=1000).fit(x, y)
    found = model.predict(asked)
    assert result.metrics["lp_acc1"] == pytest.approx(sklearn_metrics.accuracy_score(due, found), abs=5e-5)
    balanced = sklearn_metrics.balanced_accuracy_score(due, found)
    assert result.metrics["lp_mean_per_class_recall"] == pytest.approx(balanced, abs=5e-5)
    assert 0.3 < result.metrics["lp_acc1"] < 1.0  # neither chance nor so easy that anything would agree
    best = sklearn_metrics.top_k_accuracy_score(due, model.decision_function(asked), k=5)
    assert result.metrics["lp_acc5"] == pytest.approx(best, abs=5e-5)
    low, high = result.intervals["lp_acc1"]
    assert low <= result.metrics["lp_acc1"] <= high
    assert result.items["train"] + result.items["val"] == len(y)


def test_the_strength_is_chosen_on_the_validation_images() -> None:
    """Protects the sweep: no strength that it begins with is better, and the score is the chosen one's."""
    from sklearn import linear_model

    train, held = (Labelled(*arrays(Split(images(5, first)))) for first in (0, 30))
    strength, score = probe.best_strength(train, held, 6)
    assert strength in probe.STRENGTHS
    for other in (*probe.STRENGTHS[:: probe.COARSE], strength):
        model = linear_model.LogisticRegression(C=other, max_iter=1000).fit(train.features, train.labels)
        found = model.score(held.features, held.labels)
        assert found == pytest.approx(score) if other == strength else found <= score + 1e-12


def test_the_likelihood_is_scikit_learns_log_loss() -> None:
    """Protects the score by which heads choose their regularisation, also of logits far apart."""
    from sklearn import metrics as sklearn_metrics

    logits = 2 * np.random.default_rng(0).standard_normal((20, 3))
    labels = np.arange(20) % 3
    assert probe.log_likelihood(logits + 1000, labels) == pytest.approx(probe.log_likelihood(logits, labels))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert probe.log_likelihood(logits, labels) == pytest.approx(-sklearn_metrics.log_loss(labels, shares))


def test_two_classes_have_two_rows() -> None:
    """Protects data sets of two classes, for which scikit-learn keeps one row, and classes without images."""
    from sklearn import linear_model

    rng = np.random.default_rng(1)
    data = Labelled(rng.standard_normal((30, 4)), np.array([1, 3] * 15))
    fitted = probe.fit(data, 5, 1.0)
    model = linear_model.LogisticRegression(C=1.0).fit(data.features, data.labels)
    logits = fitted.logits(data.features)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares[:, [1, 3]], model.predict_proba(data.features), atol=1e-4)
    assert (shares[:, [0, 2, 4]] == 0).all()


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 5),
)
@settings(max_examples=50, deadline=None)
def test_a_split_uses_every_image_once(labels: list[int], share: float, seed: int) -> None:
    """Protects validation images from being trained on, and small classes from having none to learn from."""
    numbers = np.array(labels)
    train, held = probe.split(numbers, share, seed)
    assert sorted([*train, *held]) == list(range(len(labels)))
    assert set(numbers[train]) == set(labels)
    assert set(numbers[held]) == {label for label in labels if labels.count(label) > 1}


def test_what_cannot_be_probed_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects people from figures that mean nothing, and from a traceback."""
    good = Split(images(3))
    with pytest.raises(EvaluationError, match="no image to learn from is of the class 'ant'"):
        tasks.linear_probe(Model(), Split([(n, 0) for n in range(5)]), good)
    with pytest.raises(EvaluationError, match="one class each, not of several"):
        tasks.linear_probe(Model(), Split(images(3), several=True), good)
    one = Split([(2, n) for n in range(4)])
    with pytest.raises(EvaluationError, match="at least two classes"):
        tasks.linear_probe(Model(), one, one)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(EvaluationError, match="pip install scikit-learn"):
        tasks.linear_probe(Model(), good, good)
