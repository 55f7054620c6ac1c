"""How the text head learns: names find their concepts, and one thing's names in all languages each other.

The text model is frozen, so a step costs only the head. A text becomes a query, a unit vector in the common
space, and the loss is

    H(target, softmax(scale · query · concepts))    a name means its class, or equally all kinds of a hypernym
    + InfoNCE over pairs                            the English name of an emoji and that in another locale,
                                                    of things that ImageNet does not know too

Frozen vectors lean by language. Half of the names are moved, before the head, by the difference of two
languages' means: what is learned then does not rest on the language that a name is in. The head may also be
kept from the directions in which these means differ most.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models import outputs
from models.loaders import concept_memory
from models.loaders.concept_memory import ConceptMemory
from models.loaders.projection_heads import ABOUT, ProjectionHead
from training import losses
from training.devices import Device
from training.loop import Stage

PAIR_SCALE = 20.0
"""Of the cosines between names; a learned one grows until it tells apart what differs by a hair."""
SMOOTHING = 0.5
"""How much a language with many names is drawn before one with few: (names)^0.5."""
MOVED = 0.5
"""Share of the names that are moved between languages."""
ENOUGH_NAMES = 50
"""Of a language, for its mean to say something of the language."""


@dataclass(frozen=True)
class Names:
    """Texts as the frozen model has them, each with its language and its target."""

    features: Tensor  # float32 [N, width]
    language: NDArray[np.int64]
    target: NDArray[np.int64]  # rows of the targets; -1 for a name that means none of them
    thing: NDArray[np.int64]  # the same for all names of one emoji; -1 for others
    held_out: NDArray[np.bool_]


@dataclass(frozen=True)
class Batch:
    rows: Tensor
    """int64 [N], names that mean a target."""
    moves: Tensor
    """float32 [N, width], what is added to their features."""
    pairs: Tensor
    """int64 [M, 2], two names of one thing."""


@dataclass(frozen=True)
class Recipe:
    """What a run is told, beside the loop's settings."""

    checkpoint: Path
    vision_model: str
    text_model: str
    vision_head: Tensor
    neutral: Tensor
    """[width, width], what texts' features have been multiplied by; see `language_neutral`."""
    memory: ConceptMemory
    logit_scale: float
    batch: int
    pairs: int
    pair_weight: float
    in_epoch: int
    seed: int
    layers: int
    fixed: dict[str, Any]
    """See `Stage.fixed`."""
    about: dict[str, Any]


class NamesStage(Stage[Batch]):
    """See the module. An epoch is `in_epoch` steps."""

    learned: ProjectionHead

    def __init__(self, recipe: Recipe, names: Names, targets: Tensor, start: Tensor, device: Device) -> None:
        """targets [T, classes]; start [dim, width] is what the head's projection begins with."""
        self.recipe, self.names, self.device = recipe, names, device
        self.targets, self.concepts = targets, recipe.memory.vectors
        torch.manual_seed(recipe.seed)
        self.learned = ProjectionHead(names.features.shape[1], layers=recipe.layers, dropout=0.1)
        with torch.no_grad():
            self.learned.linear1.weight.copy_(start)
        self.learned.to(device.torch_device)
        self.in_epoch, self.rows = recipe.in_epoch, recipe.batch
        self.fixed = {**recipe.fixed, "names": len(names.language)}
        learning = ~names.held_out & (names.target >= 0)
        self.rows_of_names = np.flatnonzero(learning)
        counts = np.bincount(names.language[learning], minlength=names.language.max() + 1)
        weight = counts[names.language[learning]].astype(float) ** (SMOOTHING - 1)
        self.chances = weight / weight.sum()
        self.means, self.known = language_means(names), np.unique(names.language[learning])
        self.of_thing = [
            np.flatnonzero(names.thing == thing) for thing in np.unique(names.thing[names.thing >= 0])
        ]

    def batches(self, epoch: int, first: int) -> Iterator[Batch]:
        for number in range(first, self.in_epoch):
            yield self.draw(epoch * self.in_epoch + number)

    def draw(self, step: int) -> Batch:
        """The batch of a step from 0, a function of the step and the seed alone."""
        chance = np.random.default_rng((self.recipe.seed, step))
        rows = chance.choice(self.rows_of_names, self.recipe.batch, p=self.chances)
        other = chance.choice(self.known, len(rows))
        moves = self.means[other] - self.means[self.names.language[rows]]
        moves[chance.random(len(rows)) >= MOVED] = 0
        things = len(self.of_thing)
        chosen: Any = chance.choice(things, min(self.recipe.pairs, things), replace=False) if things else []
        pairs = [chance.choice(self.of_thing[thing], 2) for thing in chosen]
        return Batch(
            torch.from_numpy(rows),
            torch.from_numpy(moves),
            torch.from_numpy(np.array(pairs, dtype=np.int64).reshape(-1, 2)),
        )

    def queries(self, features: Tensor) -> Tensor:
        """[N, width] → unit rows [N, dim]."""
        found: Tensor = F.normalize(self.learned(features), dim=-1)
        return found

    def loss(self, batch: Batch) -> Tensor:
        queries = self.queries(self.names.features[batch.rows] + batch.moves)
        targets = self.targets[torch.from_numpy(self.names.target)[batch.rows]]
        loss = F.cross_entropy(self.recipe.memory.text_scale * queries @ self.concepts.T, targets)
        if len(batch.pairs) and self.recipe.pair_weight:
            one, other = (self.queries(self.names.features[column]) for column in batch.pairs.T)
            label = torch.arange(len(batch.pairs))
            pairs = losses.contrastive(one, other, label, torch.tensor(PAIR_SCALE))
            loss = loss + self.recipe.pair_weight * pairs
        return loss

    def measure(self) -> dict[str, float]:
        """Of held-out names: the share whose nearest concept is one that they mean, by language."""
        rows = np.flatnonzero(self.names.held_out & (self.names.target >= 0))
        if not len(rows):
            return {}
        best = (self.queries(self.names.features[rows]) @ self.concepts.T).argmax(1)
        right = self.targets[self.names.target[rows], best].gt(0).numpy()
        by_language = [
            right[self.names.language[rows] == one].mean() for one in np.unique(self.names.language[rows])
        ]
        return {"names_right": float(right.mean()), "score": float(np.mean(by_language))}

    def write(self, about: dict[str, Any]) -> None:
        recipe = self.recipe
        text = {key: value.detach().cpu() for key, value in self.learned.state_dict().items()}
        text["linear1.weight"] = text["linear1.weight"] @ recipe.neutral
        heads = {
            "text": {key: value.half() for key, value in text.items()},
            "vision": {"linear1.weight": recipe.vision_head.half()},
        }
        with outputs.replacing(recipe.checkpoint) as partial:
            partial.mkdir(parents=True)
            for tower, state in heads.items():
                torch.save(state, partial / f"{tower}-photos.ckpt")
            concept_memory.save(recipe.memory, partial / concept_memory.FILE)
            told = {"logit_scale": recipe.logit_scale, "vision_model": recipe.vision_model}
            told |= {"text_model": recipe.text_model, **recipe.about, **about}
            (partial / ABOUT).write_text(
                json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )


def language_means(names: Names) -> NDArray[np.float32]:
    """[languages, width]: the mean of the names that are learned from, zeros for a language without any."""
    features = names.features.numpy()
    found = np.zeros((names.language.max() + 1, features.shape[1]), np.float32)
    for language in np.unique(names.language[~names.held_out]):
        found[language] = features[(names.language == language) & ~names.held_out].mean(0)
    return found


def language_neutral(names: Names, directions: int) -> Tensor:
    """[width, width]: the projection away from so many directions in which languages' means differ most.

    "A Simple and Effective Method To Eliminate the Self Language Bias in Multilingual Representations", Yang
    et al. 2021, takes directions of one language from its texts. A text here does not say its language, so
    one projection serves all: principal components of the means of languages with `ENOUGH_NAMES`.
    """
    width = names.features.shape[1]
    if not directions:
        return torch.eye(width)
    counts = np.bincount(names.language[~names.held_out], minlength=names.language.max() + 1)
    means = torch.from_numpy(language_means(names)[counts >= ENOUGH_NAMES])
    components = torch.linalg.svd(means - means.mean(0), full_matrices=False)[2][:directions]
    found: Tensor = torch.eye(width) - components.T @ components
    return found


def starting_projection(names: Names, targets: Tensor, concepts: Tensor, ridge: float) -> Tensor:
    """[dim, width]: what brings the names' features nearest to what they mean, by ridge regression."""
    rows = np.flatnonzero(~names.held_out & (names.target >= 0))
    x = names.features[rows].double()
    y = F.normalize(targets[names.target[rows]] @ concepts, dim=-1).double()
    gram = x.T @ x + ridge * len(rows) * torch.eye(x.shape[1], dtype=torch.float64)
    found: Tensor = torch.linalg.solve(gram, x.T @ y).T.float()
    return found
