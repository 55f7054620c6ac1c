"""The emoji data set in memory: decoded drawings, tokenized captions, random batches, augmentation."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from handlers import limits
from handlers.preprocess.reference import decode_image
from training.recipes.mini.dataset import Caption, code_points

NAME_SHARE = 0.7  # of the captions drawn; the others are one to three keywords


@dataclass(frozen=True)
class Drawings:
    """Decoded drawings, and what each shows."""

    pixels: Tensor  # uint8 [N, size, size, 3]
    label: Tensor  # int64 [N]: row of concepts.json


@dataclass(frozen=True)
class Captions:
    """Every (emoji, locale) pair's caption as token ids without <s> and </s>."""

    names: list[list[int]]
    keywords: list[list[list[int]]]
    of_label: list[list[int]]  # label → its rows in `names` and `keywords`
    label: list[int]  # row → its label
    locales: list[str]


def read_concepts(root: Path) -> list[str]:
    """The emoji in the order of their labels."""
    rows = json.loads((root / "concepts.json").read_text(encoding="utf-8"))
    return [row["emoji"] for row in rows]


def read_locale(root: Path, locale: str) -> dict[str, Caption]:
    """Emoji → its name and keywords in the locale."""
    text = (root / "captions" / f"{locale}.json").read_text(encoding="utf-8")
    found: dict[str, Caption] = json.loads(text)
    return found


def locales_of(root: Path) -> list[str]:
    """The codes of the locales that have captions."""
    return sorted(path.stem for path in (root / "captions").glob("*.json"))


def load_image(path: Path, size: int) -> Tensor:
    """uint8 [size, size, 3], by the preprocessing that serving uses."""
    pixels = decode_image(
        path.read_bytes(), size=size, max_pixels=limits.MAX_PIXELS, max_bytes=limits.MAX_IMAGE_BYTES
    )
    return torch.from_numpy(np.ascontiguousarray(pixels))


def load_drawings(root: Path, families: tuple[str, ...], size: int) -> Drawings:
    """Every drawing of the families, ordered by label and family."""
    pixels, labels = [], []
    for label, emoji in enumerate(read_concepts(root)):
        for family in families:
            path = root / "drawings" / family / f"{code_points(emoji)}.png"
            if path.exists():
                pixels.append(load_image(path, size))
                labels.append(label)
    return Drawings(torch.stack(pixels), torch.tensor(labels))


def load_captions(root: Path, tokenizer: Tokenizer, locales: list[str]) -> Captions:
    """The captions of these locales, tokenized once."""
    concepts = {emoji: label for label, emoji in enumerate(read_concepts(root))}
    names: list[str] = []
    keywords: list[list[str]] = []
    label: list[int] = []
    of_label: list[list[int]] = [[] for _ in concepts]
    for locale in locales:
        for emoji, caption in read_locale(root, locale).items():
            of_label[concepts[emoji]].append(len(names))
            label.append(concepts[emoji])
            names.append(caption["name"])
            keywords.append(caption["keywords"])
    unique = sorted({word for row in keywords for word in row} | set(names))
    encoded = tokenizer.encode_batch(unique, add_special_tokens=False)
    ids = {text: encoding.ids for text, encoding in zip(unique, encoded, strict=True)}
    return Captions(
        names=[ids[name] for name in names],
        keywords=[[ids[word] for word in row] for row in keywords],
        of_label=of_label,
        label=label,
        locales=locales,
    )


def rows_of_step(count: int, size: int, step: int, seed: int) -> list[int]:
    """`size` of `count` rows: every epoch is one shuffled pass over all, less what does not fill a step.

    A function of the step alone, so a resumed run goes on with the rows it would have had.
    """
    steps = max(1, count // size)
    shuffle = torch.Generator().manual_seed(seed * 1_000_003 + step // steps)
    start = step % steps * size
    return torch.randperm(count, generator=shuffle)[start : start + size].tolist()


def draw_images(of_concept: list[int], count: int, chance: random.Random) -> list[int]:
    """`count` drawings of a concept, each by another family while there are enough."""
    if count <= len(of_concept):
        return chance.sample(of_concept, count)
    return [*of_concept, *chance.choices(of_concept, k=count - len(of_concept))]


def draw_caption(captions: Captions, row: int, chance: random.Random) -> list[int]:
    """Token ids of a caption of one emoji in one locale: mostly its name, else up to three keywords."""
    words = captions.keywords[row]
    if not words or chance.random() < NAME_SHARE:
        return captions.names[row]
    chosen = chance.sample(words, min(len(words), chance.choice((1, 2, 3))))
    return [token for word in chosen for token in word]


def pad(rows: list[list[int]], max_tokens: int) -> tuple[Tensor, Tensor]:
    """ids and mask int64 [N, longest], with <s>, </s> and padding; longer rows are cut to `max_tokens`."""
    cut = [row[: max_tokens - 2] for row in rows]
    length = max(len(row) for row in cut) + 2
    ids = torch.ones(len(cut), length, dtype=torch.int64)
    mask = torch.zeros(len(cut), length, dtype=torch.int64)
    for i, row in enumerate(cut):
        ids[i, : len(row) + 2] = torch.tensor([0, *row, 2])
        mask[i, : len(row) + 2] = 1
    return ids, mask


def augment(pixels: Tensor, generator: torch.Generator, size: int) -> Tensor:
    """uint8 [N, S, S, 3] → float [N, size, size, 3] in 0…255: turned, scaled, moved, recoloured, partly
    erased.

    A drawing of another family differs in outline, proportions and palette, so those are what varies.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    n, source = pixels.shape[:2]
    angle = uniform(-0.26, 0.26, n)
    zoom = uniform(0.85, 1.25, n)
    stretch, shear = uniform(0.88, 1.14, n), uniform(-0.12, 0.12, n)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    matrix = torch.stack(
        [
            torch.stack([cos * stretch, -sin + shear, uniform(-0.1, 0.1, n)], 1),
            torch.stack([sin, cos / stretch, uniform(-0.1, 0.1, n)], 1),
        ],
        1,
    )  # [N, 2, 3]
    grid = F.affine_grid(matrix, [n, 3, source, source], align_corners=False)
    darkness = 255 - pixels.permute(0, 3, 1, 2).float()  # white is 0, which is what grid_sample fills in
    x = 1 - F.grid_sample(darkness, grid, align_corners=False) / 255  # [N, 3, S, S]
    if size != source:
        x = F.interpolate(x, size=(size, size), mode="area")

    mix = torch.eye(3) + uniform(-0.2, 0.2, n, 3, 3)
    mix = mix / mix.sum(2, keepdim=True)  # grey stays grey, colours move
    x = torch.einsum("nij,njhw->nihw", mix, x)
    grey = (torch.rand(n, generator=generator) < 0.1).view(n, 1, 1, 1)
    x = torch.where(grey, x.mean(1, keepdim=True).expand_as(x), x)
    x = (x - 0.5) * uniform(0.75, 1.25, n, 1, 1, 1) + 0.5 + uniform(-0.1, 0.1, n, 1, 1, 1)

    axis = torch.arange(size).float()
    left, top = uniform(-0.3, 1.0, n, 1) * size, uniform(-0.3, 1.0, n, 1) * size
    side = uniform(0.1, 0.4, n, 1) * size
    columns = (axis >= left) & (axis < left + side)
    rows = (axis >= top) & (axis < top + side)
    some = torch.rand(n, generator=generator) < 0.25
    hole = (rows[:, :, None] & columns[:, None, :] & some[:, None, None])[:, None]
    x = torch.where(hole, uniform(0, 1, n, 3, 1, 1), x)
    return (x.clamp(0, 1) * 255).permute(0, 2, 3, 1)
