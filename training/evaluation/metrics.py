"""The metrics of CLIP_benchmark, and how far they would move with other queries.

What is averaged is kept until the end: a hit a query, so that every figure has its interval. Definitions are
those of https://github.com/LAION-AI/CLIP_benchmark, whose names they carry.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CUTS = (1, 5, 10)
CHUNK = 1024  # queries that are compared at a time: their cosines with every candidate are in memory

Hits = NDArray[np.bool_]
Interval = tuple[float, float]


def nearest(queries: Tensor, candidates: Tensor, count: int) -> Tensor:
    """The candidates of the highest dot products, best first.

    queries float [Q, D]; candidates float [C, D] → int64 [Q, min(count, C)].
    """
    count = min(count, len(candidates))
    parts = [torch.topk(part @ candidates.T, count, dim=1).indices for part in queries.split(CHUNK)]
    return torch.cat(parts)


def recall_at_1(queries: Tensor, candidates: Tensor, label: Tensor) -> float:
    """The share of queries whose nearest candidate is of their label; row i of both is of label i.

    queries, candidates float [N, D], unit rows; label int64 [N], or [N, K] of which any may agree.
    """
    label = label.reshape(len(label), -1)
    return (label[nearest(queries, candidates, 1)[:, 0]] == label).any(1).float().mean().item()


def retrieval_hits(
    texts: Tensor, images: Tensor, image_of_text: Tensor, cuts: Sequence[int] = CUTS
) -> dict[str, Hits]:
    """Which queries have at least one of their own among the best k.

    A text looks for its image (`image_retrieval_recall@k`, bool [T]) and an image for any of its texts
    (`text_retrieval_recall@k`, bool [N]). An image without texts never hits. With fewer than k candidates all
    of them are among the best k.

    texts float [T, D] and images float [N, D], unit rows; image_of_text int64 [T], rows of `images`.
    """
    to_image = nearest(texts, images, max(cuts)) == image_of_text[:, None]  # [T, K]
    own = torch.arange(len(images))[:, None]
    to_text = image_of_text[nearest(images, texts, max(cuts))] == own  # [N, K]
    hits = {}
    for k in cuts:
        hits[f"image_retrieval_recall@{k}"] = to_image[:, :k].any(1).numpy()
        hits[f"text_retrieval_recall@{k}"] = to_text[:, :k].any(1).numpy()
    return hits


def classification_hits(logits: Tensor, labels: Tensor) -> dict[str, Hits]:
    """Whether each image's class is the best (`acc1`), and among the best five (`acc5`): bool [N] each.

    Below five classes there is no acc5.

    logits float [N, C]; labels int64 [N], from 0 to C - 1.
    """
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]  # [N, 5]
    hits = {"acc1": best[:, 0].numpy()}
    if best.shape[1] == 5:
        hits["acc5"] = best.any(1).numpy()
    return hits


def mean_of(values: NDArray[np.generic], groups: NDArray[np.int64] | None = None) -> float:
    """The mean of the groups' means; without groups the plain mean.

    Of `acc1` hits grouped by class it is mean_per_class_recall, which scikit-learn calls balanced accuracy:
    classes without an image do not count.

    values bool or float [Q]; groups int64 [Q], from 0.
    """
    if groups is None:
        return float(values.mean())
    sizes = np.bincount(groups)
    means = np.bincount(groups, weights=values)[sizes > 0] / sizes[sizes > 0]
    return float(means.mean())


def interval(
    values: NDArray[np.generic],
    groups: NDArray[np.int64] | None = None,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Where `mean_of` lies for `level` of as many queries, drawn from these with replacement.

    The percentile bootstrap of Efron, 1979. Queries count as independent, which the captions of one image are
    not quite: intervals of image_retrieval_recall are a little too narrow where images have several.

    values bool or float [Q]; groups int64 [Q] → (low, high).
    """
    chance = np.random.default_rng(seed)
    means = np.empty(resamples)
    for i in range(resamples):
        drawn = chance.integers(0, len(values), len(values))
        means[i] = mean_of(values[drawn], None if groups is None else groups[drawn])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_average_precision(logits: Tensor, targets: Tensor) -> float:
    """The mean over classes of the average precision, for images of several classes; a class of none has 0.

    logits float [N, C]; targets bool [N, C].
    """
    order = logits.argsort(dim=0, descending=True)
    right = targets.gather(0, order).double()  # [N, C], best first in each column
    rank = torch.arange(1, len(right) + 1, dtype=torch.float64)[:, None]
    precision = right.cumsum(0) / rank
    total = right.sum(0).clamp(min=1)
    return float(((precision * right).sum(0) / total).mean())
