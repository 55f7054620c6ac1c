"""Zero-shot classification: each class is the mean vector of sentences about it.

After "Learning Transferable Visual Models From Natural Language Supervision", Radford et al. 2021, 3.1.4.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from training.evaluation.languages import PLACEHOLDER

SCALE = 100.0
CLASSES = 64  # whose sentences are embedded in one call

EmbedTexts = Callable[[list[str]], Tensor]
"""N texts → float32 [N, D]."""


def sentences(name: str, templates: Sequence[str]) -> list[str]:
    """Every template with the class name in its place."""
    return [template.replace(PLACEHOLDER, name) for template in templates]


def class_embeddings(embed_texts: EmbedTexts, names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Per class: embed every sentence, normalise, average, normalise again → float32 [C, D]."""
    rows = []
    for start in range(0, len(names), CLASSES):
        part = names[start : start + CLASSES]
        texts = [text for name in part for text in sentences(name, templates)]
        vectors = F.normalize(embed_texts(texts), dim=-1).view(len(part), len(templates), -1)
        rows.append(F.normalize(vectors.mean(1), dim=-1))
    return torch.cat(rows)


def logits(images: Tensor, classes: Tensor) -> Tensor:
    """100 times the cosine of every image and class.

    images float [N, D] and classes float [C, D], unit rows → float [N, C].
    """
    return SCALE * images @ classes.T
