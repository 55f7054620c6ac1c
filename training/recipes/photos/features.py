"""What the frozen models make of texts and images: computed once, kept in the run's folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.dual_encoder import TextTower
from models.files.weights import CheckpointError, fingerprint
from models.loaders import backbones
from training import frozen_vectors
from training.evaluation.embedding import token_arrays

BATCH = 64


def of_texts(models: Path, name: str, texts: Sequence[str], folder: Path) -> NDArray[np.float32]:
    """float32 [N, width]: the pooled state of each text, in order, by the text model of that name.

    Raises:
        CheckpointError: the model cannot be read.
    """
    files, rule = backbones.text_files(models, name)
    digest = frozen_vectors.digest_of(fingerprint(files, rule=rule), texts)
    path = folder / f"texts-{digest}.npy"
    # Like lengths together: little padding.
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), texts[i]))
    read = None if path.exists() else backbones.read_text(models, name)

    def embed(part: range) -> Tensor:
        assert read is not None, "vectors that are there are not computed"
        wanted = [texts[order[i]] for i in part]
        limits = {"max_tokens": read.input.max_tokens, "pad_id": read.input.pad_id}
        tower = TextTower(read.encoder, read.pooling, nn.Identity())
        return tower.pooled(*token_arrays(read.tokenizer, wanted, **limits))

    width = np.load(path, mmap_mode="r").shape[1] if read is None else read.width
    rows = frozen_vectors.vectors(path, len(texts), width, embed, batch=BATCH)
    found = np.empty(rows.shape, np.float32)
    found[order] = rows
    return found


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
