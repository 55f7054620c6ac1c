"""Projection heads on frozen towers: OpenAI's RN50x4 and XLM-R base, or others, each with a trained head.

The form of gzomer's Multilingual CLIP. A folder holds the two heads as bare state dicts
(clip-text-projection.ckpt and clip-visual-projection.ckpt, or text-NAME.ckpt and vision-NAME.ckpt) and the
public models they were trained on, each in a folder of its name:

    RN50x4/             open_clip's files (open_clip_config.json and weights), or OpenAI's own RN50x4.pt
    xlm-roberta-base/   Hugging Face's files (config.json, weights, tokenizer.json)

Heads that were trained here name other models in their heads.json (`models.loaders.backbones` has the list),
and may have a memory beside them (`models.loaders.concept_memory`).
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.checkpoint import Checkpoint
from models.dual_encoder import DualEncoder, Inputs, TextTower, VisionTower
from models.files.weights import (
    CheckpointError,
    archive_name,
    fingerprint,
    load_strict,
    read_json,
    read_state,
)
from models.loaders import backbones, concept_memory
from models.loaders.backbones import TEXT_MODEL, VISION_MODEL

HEADS = {
    "text": ("clip-text-projection.ckpt", "text-*.ckpt"),
    "vision": ("clip-visual-projection.ckpt", "vision-*.ckpt"),
}
DIM = 512
LAYERS = 3  # of the published heads
# The published heads were trained without a learned scale; their search multiplies cosines by this.
LOGIT_SCALE = 100.0
ABOUT = "heads.json"  # what our own training says of heads: a name, models, the scale that they learned


class ProjectionHead(nn.Module):
    """A linear projection and then, `layers` times, p ← LayerNorm(p + Dropout(linear(GELU(p)))).

    All layers share one LayerNorm, as the published files have it; without layers there is none.
    """

    def __init__(self, width: int, dim: int = DIM, layers: int = LAYERS, dropout: float = 0.5) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, dim, bias=False)
        self.linear_layers = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(dim) if layers else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[N, width] → [N, dim], not normalised."""
        p: Tensor = self.linear1(x)
        for linear in self.linear_layers:
            p = self.layer_norm(p + self.dropout(linear(F.gelu(p))))
        return p


def is_projection_heads(folder: Path) -> bool:
    """Whether the folder holds projection heads."""
    return any(list(folder.glob(pattern)) for patterns in HEADS.values() for pattern in patterns)


def space_of(folder: Path) -> str:
    """The fingerprint of heads, memory, both models, the tokenizer and what is done to texts before it.

    Raises:
        CheckpointError: a file is missing.
    """
    names = models_of(folder)
    files = [_head_file(folder, "text"), _head_file(folder, "vision")]
    files += backbones.vision_files(folder, names["vision"])
    text_files, rule = backbones.text_files(folder, names["text"])
    memory = [folder / concept_memory.FILE] if (folder / concept_memory.FILE).exists() else []
    return fingerprint([*files, *text_files, *memory], rule=rule)


def models_of(folder: Path) -> dict[str, str]:
    """The names of the models that the heads are on, by tower.

    Raises:
        CheckpointError: heads.json cannot be read, or a name in it is none.
    """
    about = read_json(folder / ABOUT) if (folder / ABOUT).exists() else {}
    names = {
        "text": about.get("text_model", TEXT_MODEL),
        "vision": about.get("vision_model", VISION_MODEL),
    }
    for tower, name in names.items():
        if not isinstance(name, str) or name in ("", "..") or Path(name).name != name:
            raise CheckpointError(f"{folder / ABOUT}: {tower}_model must be a folder's name, not {name!r}")
    return names


def load(folder: Path) -> Checkpoint:
    """The model as export takes it, in float32 and eval mode; keys and shapes are checked strictly.

    Raises:
        CheckpointError: names the file and what is missing, too much or not supported.
    """
    names = models_of(folder)
    texts = backbones.read_text(folder, names["text"])
    images = backbones.read_vision(folder, names["vision"])
    widths = {"text": texts.width, "vision": images.width}
    heads = {tower: _head(folder, tower, widths) for tower in HEADS}
    scale = _logit_scale(folder / ABOUT)
    meta = {
        "name": _name(folder),
        "space": space_of(folder),
        "dim": DIM,
        "logit_scale": scale,
        "languages": [],
        "source": f"projection heads on {names['vision']} and {names['text']}",
    }
    recalled: nn.Module | None = None
    project: nn.Module = heads["vision"]
    if (folder / concept_memory.FILE).exists():
        memory = concept_memory.read(folder / concept_memory.FILE, DIM)
        recalled = memory.of_texts()
        project = memory.of_images(project, images.classifier, folder)
    text = TextTower(texts.encoder, texts.pooling, heads["text"], recalled)
    vision = VisionTower(images.encoder, project, images.input)
    inputs = Inputs(texts.input, images.input)
    towers = DualEncoder(text, vision, inputs, nn.Parameter(torch.tensor(scale).log()))
    return Checkpoint(folder / names["text"], towers.eval(), texts.tokenizer, meta)


def _name(folder: Path) -> str:
    """Of the archives: what heads.json says, else the folder's."""
    about = read_json(folder / ABOUT) if (folder / ABOUT).exists() else {}
    found = about.get("name", archive_name(folder))
    if not isinstance(found, str) or archive_name(Path(found)) != found:
        raise CheckpointError(
            f"{folder / ABOUT}: name must be lower-case letters, digits, dots and dashes, not {found!r}"
        )
    return found


def _logit_scale(about: Path) -> float:
    if not about.exists():
        return LOGIT_SCALE
    found = read_json(about).get("logit_scale", LOGIT_SCALE)
    if not isinstance(found, int | float) or not found > 0:
        raise CheckpointError(f"{about}: logit_scale must be a number above 0, not {found!r}")
    return round(float(found), 4)


def _head_file(folder: Path, tower: str) -> Path:
    published, trained = HEADS[tower]
    if (folder / published).exists():
        return folder / published
    found = sorted(folder.glob(trained))
    if len(found) != 1:
        names = f"found {', '.join(path.name for path in found)}" if found else "found none"
        raise CheckpointError(f"{folder}: one {tower} head is needed, {published} or {trained}; {names}")
    return found[0]


def _head(folder: Path, tower: str, widths: dict[str, int]) -> ProjectionHead:
    path = _head_file(folder, tower)
    state = read_state(path)
    layers = sum(key.startswith("linear_layers.") for key in state)
    is_linear = state.keys() == {"linear1.weight"}
    head = ProjectionHead(widths[tower], layers=0 if is_linear else layers or LAYERS)
    other = "vision" if tower == "text" else "text"
    found = state.get("linear1.weight")
    if found is not None and widths[tower] != widths[other] and found.shape == (DIM, widths[other]):
        raise CheckpointError(
            f"{path}: linear1.weight has the shape {list(found.shape)}, which is that of the {other} head; "
            "are the two files swapped?"
        )
    load_strict(head, state, path)
    return head
