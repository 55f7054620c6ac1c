import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation import metrics

SEEDS = st.integers(0, 100_000)


def unit(rows: int, seed: int, dim: int = 6) -> torch.Tensor:
    made = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(made, dim=1)


@given(st.integers(1, 40), st.integers(1, 12), SEEDS)
def test_recalls_are_those_of_a_direct_count(texts: int, images: int, seed: int) -> None:
    """Protects both directions against a sort of every query's candidates, one by one."""
    text, image = unit(texts, seed), unit(images, seed + 1)
    owners = torch.randint(images, (texts,), generator=torch.Generator().manual_seed(seed))
    hits = metrics.retrieval_hits(text, image, owners)
    scores = (text @ image.T).tolist()
    for k in (1, 5, 10):
        for t in range(texts):
            best = sorted(range(images), key=lambda i: -scores[t][i])[:k]
            assert hits[f"image_retrieval_recall@{k}"][t] == (int(owners[t]) in best)
        for i in range(images):
            best = sorted(range(texts), key=lambda t: -scores[t][i])[:k]
            assert hits[f"text_retrieval_recall@{k}"][i] == any(int(owners[t]) == i for t in best)


@given(st.integers(1, 30), st.integers(1, 10), SEEDS)
def test_a_wider_cut_never_loses_a_hit(texts: int, images: int, seed: int) -> None:
    """Protects recall@1 ≤ recall@5 ≤ recall@10."""
    owners = torch.arange(texts) % images
    hits = metrics.retrieval_hits(unit(texts, seed), unit(images, seed + 1), owners)
    for way in ("image", "text"):
        one, five, ten = (hits[f"{way}_retrieval_recall@{k}"] for k in (1, 5, 10))
        assert (one <= five).all()
        assert (five <= ten).all()


def test_the_vectors_themselves_are_found_in_any_number_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the chunks from being joined in a wrong order, and an image without texts from hitting."""
    monkeypatch.setattr(metrics, "CHUNK", 7)
    image = unit(30, 1)
    hits = metrics.retrieval_hits(image[:29], image, torch.arange(29), cuts=(1,))
    assert hits["image_retrieval_recall@1"].all()
    assert hits["text_retrieval_recall@1"].tolist() == [True] * 29 + [False]


@given(st.integers(2, 12), st.integers(1, 40), SEEDS)
def test_accuracy_is_that_of_a_direct_count(classes: int, images: int, seed: int) -> None:
    """Protects acc1, acc5 (which fewer than five classes do not have) and mean_per_class_recall."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, generator=draw)
    labels = torch.randint(classes, (images,), generator=draw)
    hits = metrics.classification_hits(logits, labels)
    ranking = [sorted(range(classes), key=lambda c: -row[c]) for row in logits.tolist()]
    assert hits["acc1"].tolist() == [r[0] == int(y) for r, y in zip(ranking, labels, strict=True)]
    assert ("acc5" in hits) == (classes >= 5)
    if classes >= 5:
        assert hits["acc5"].tolist() == [int(y) in r[:5] for r, y in zip(ranking, labels, strict=True)]
    shares = []
    for c in set(labels.tolist()):
        own = [r[0] == c for r, y in zip(ranking, labels, strict=True) if int(y) == c]
        shares.append(sum(own) / len(own))
    assert metrics.mean_of(hits["acc1"], labels.numpy()) == pytest.approx(sum(shares) / len(shares))


def test_average_precision_is_that_of_a_direct_count() -> None:
    """Protects the metric of images with several classes; a class that no image has counts as 0."""
    draw = torch.Generator().manual_seed(3)
    logits, targets = torch.randn(20, 4, generator=draw), torch.rand(20, 4, generator=draw) < 0.4
    targets[:, 3] = False
    precisions = []
    for c in range(3):
        order = sorted(range(20), key=lambda i: -logits[i, c])
        right, found = 0, []
        for rank, i in enumerate(order, 1):
            if targets[i, c]:
                right += 1
                found.append(right / rank)
        precisions.append(sum(found) / len(found))
    assert metrics.mean_average_precision(logits, targets) == pytest.approx(sum(precisions) / 4)


@given(st.lists(st.booleans(), min_size=1, max_size=60), SEEDS)
def test_an_interval_repeats_and_stays_within_what_is_possible(values: list[bool], seed: int) -> None:
    """Protects the seed, and the bounds 0 ≤ low ≤ high ≤ 1; queries that agree leave no doubt."""
    hits = np.array(values)
    low, high = metrics.interval(hits, resamples=50, seed=seed)
    assert (low, high) == metrics.interval(hits, resamples=50, seed=seed)
    assert 0 <= low <= high <= 1
    if len(set(values)) == 1:
        assert low == high == values[0]


def test_an_interval_has_the_width_of_the_normal_approximation() -> None:
    """Protects the interval's level: ± 1.96 standard errors, for a share of many queries."""
    hits = np.arange(2000) % 4 == 0
    low, high = metrics.interval(hits)
    error = (0.25 * 0.75 / 2000) ** 0.5
    assert low == pytest.approx(0.25 - 1.96 * error, abs=0.003)
    assert high == pytest.approx(0.25 + 1.96 * error, abs=0.003)


def test_grouped_intervals_surround_the_grouped_mean() -> None:
    """Protects the interval of mean_per_class_recall from being that of acc1."""
    groups = np.array([0] * 90 + [1] * 10)
    hits = np.array([True] * 90 + [False, True] * 5)
    low, high = metrics.interval(hits, groups)
    assert low < metrics.mean_of(hits, groups) < high
    assert metrics.mean_of(hits, groups) == 0.75
    assert high < metrics.interval(hits)[1]
