"""What the frozen models make of texts and images: computed once, kept in a folder that runs may share."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.dual_encoder import TextTower
from models.files.weights import CheckpointError, fingerprint
from models.loaders import backbones
from models.loaders.backbones import TextBackbone
from training import frozen_vectors
from training.evaluation.embedding import token_arrays

BATCH = 64
PART = 8192  # texts in a file: what a run that was stopped computes again at most


class FrozenTexts:
    """The text model of a name, read when the first text needs it."""

    def __init__(self, models: Path, name: str) -> None:
        self.models, self.name = models, name

    @cached_property
    def backbone(self) -> TextBackbone:
        """The model.

        Raises:
            CheckpointError: it cannot be read.
        """
        return backbones.read_text(self.models, self.name)

    def pooled(self, texts: list[str]) -> Tensor:
        """float32 [N, width]."""
        read = self.backbone
        tower = TextTower(read.encoder, read.pooling, nn.Identity())
        limits = {"max_tokens": read.input.max_tokens, "pad_id": read.input.pad_id}
        return tower.pooled(*token_arrays(read.tokenizer, texts, **limits))


def of_texts(models: Path, name: str, texts: Sequence[str], folder: Path) -> NDArray[np.float32]:
    """float32 [N, width]: the pooled state of each text, in order, by the text model of that name.

    What the folder has of them from this or another run is not computed again.

    Raises:
        CheckpointError: the model cannot be read.
    """
    files, rule = backbones.text_files(models, name)
    kept = folder / fingerprint(files, rule=rule)
    kept.mkdir(parents=True, exist_ok=True)
    known = _known(kept)
    # Like lengths together: little padding.
    lacking = sorted({text for text in texts if text not in known}, key=lambda text: (len(text), text))
    frozen = FrozenTexts(models, name)
    for start in range(0, len(lacking), PART):
        _compute(frozen, lacking[start : start + PART], kept)
    known = _known(kept)
    return np.stack([known[text] for text in texts])


def _known(folder: Path) -> dict[str, NDArray[np.float32]]:
    """What is in the folder: the row of each text."""
    found: dict[str, NDArray[np.float32]] = {}
    for path in sorted(folder.glob("*.npy")):
        texts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        found.update(zip(texts, np.load(path, mmap_mode="r"), strict=True))
    return found


def _compute(frozen: FrozenTexts, texts: list[str], folder: Path) -> None:
    """Add a file of rows, beside the texts that they are of."""
    path = folder / f"{frozen_vectors.digest_of(texts)}.npy"
    path.with_suffix(".json").write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")

    def embed(part: range) -> Tensor:
        return frozen.pooled(texts[part.start : part.stop])

    frozen_vectors.vectors(path, len(texts), frozen.backbone.width, embed, batch=BATCH)


def classifier_of(models: Path, name: str) -> tuple[Tensor, Tensor]:
    """The weights [classes, width] and biases [classes] of what the image model tells apart.

    Raises:
        CheckpointError: the model cannot be read, or tells nothing apart.
    """
    classifier = backbones.read_vision(models, name).classifier
    if classifier is None:
        raise CheckpointError(f"{name} has no classifier, whose classes this recipe gives names")
    return classifier.weight.detach(), classifier.bias.detach()


def concept_vectors(weight: Tensor, dim: int, power: float) -> tuple[Tensor, Tensor]:
    """A vector for each class [classes, dim], unit rows, and the matrix [dim, width] from features to them.

    The classifier's rows without their mean, which a softmax does not see, by their singular values: U S Vᵀ.
    A class is its row of U Sᵖ, features go through S¹⁻ᵖ Vᵀ: dot products are the logits, as nearly as `dim`
    dimensions can have them. `power` p decides how much the classes' vectors resemble each other: 1 as the
    classifier's rows do, 0 as little as they can.
    """
    centred = weight - weight.mean(0)
    u, s, v = torch.linalg.svd(centred, full_matrices=False)
    u, s, v = u[:, :dim], s[:dim], v[:dim]
    vectors = torch.nn.functional.normalize(u * s**power, dim=-1)
    return vectors, s[:, None] ** (1 - power) * v
