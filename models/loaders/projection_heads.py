"""Projection heads on frozen towers: OpenAI's RN50x4 and XLM-R base, each with a trained head.

The form of gzomer's Multilingual CLIP. A folder holds the two heads as bare state dicts
(clip-text-projection.ckpt and clip-visual-projection.ckpt, or text-NAME.ckpt and vision-NAME.ckpt) and the
public models they were trained on, each in a folder of its name:

    RN50x4/             open_clip's files (open_clip_config.json and weights), or OpenAI's own RN50x4.pt
    xlm-roberta-base/   Hugging Face's files (config.json, weights, tokenizer.json)
"""

import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import XLMRobertaModel

from models.checkpoint import Checkpoint
from models.dual_encoder import DualEncoder, Inputs, TextInput, TextTower, VisionInput, VisionTower
from models.files import tokenizers
from models.files.weights import (
    CheckpointError,
    archive_name,
    fingerprint,
    load_strict,
    read_json,
    read_state,
    require,
)
from models.loaders import huggingface, open_clip, open_clip_images

VISION_MODEL, TEXT_MODEL = "RN50x4", "xlm-roberta-base"
HEADS = {
    "text": ("clip-text-projection.ckpt", "text-*.ckpt"),
    "vision": ("clip-visual-projection.ckpt", "vision-*.ckpt"),
}
DIM = 512
MAX_TOKENS = 64
# The published heads were trained without a learned scale; their search multiplies cosines by this.
LOGIT_SCALE = 100.0
ABOUT = "heads.json"  # what our own training says of heads, the scale that they learned among it
# Masked language modelling's output and BERT's pooler: parts of the public file that no embedding needs.
UNUSED_TEXT_KEYS = ("lm_head.", "pooler.", "roberta.pooler.")
# What OpenAI's program keeps beside its weights.
OPENAI_NUMBERS = ("input_resolution", "context_length", "vocab_size")


class ProjectionHead(nn.Module):
    """A linear projection and then, `layers` times, p ← LayerNorm(p + Dropout(linear(GELU(p)))).

    All layers share one LayerNorm, as the published files have it.
    """

    def __init__(self, width: int, dim: int = DIM, layers: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, dim, bias=False)
        self.linear_layers = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(dim)

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
    """The fingerprint of both heads, both models, the tokenizer and what is done to texts before it.

    Raises:
        CheckpointError: a file is missing.
    """
    text = folder / TEXT_MODEL
    files = [_head_file(folder, "text"), _head_file(folder, "vision"), _vision_weights(folder)]
    files += [text / "config.json", *huggingface.weights_of(text), *tokenizers.files_of(text)]
    return fingerprint(files, rule=tokenizers.text_rule(text))


def load(folder: Path) -> Checkpoint:
    """The model as export takes it, in float32 and eval mode; keys and shapes are checked strictly.

    Raises:
        CheckpointError: names the file and what is missing, too much or not supported.
    """
    text_folder = folder / TEXT_MODEL
    require(text_folder / "config.json")
    encoder = huggingface.pretrained(
        XLMRobertaModel, text_folder, unused=UNUSED_TEXT_KEYS, add_pooling_layer=False
    )
    visual, vision_input = vision_model(folder)
    widths = {"text": int(encoder.config.hidden_size), "vision": int(visual.output_dim)}
    heads = {tower: _head(folder, tower, widths) for tower in HEADS}
    inputs = Inputs(TextInput(MAX_TOKENS, int(encoder.config.pad_token_id)), vision_input)
    tokenizer = tokenizers.read(text_folder, int(encoder.config.vocab_size))
    scale = _logit_scale(folder / ABOUT)
    meta = {
        "name": archive_name(folder),
        "space": space_of(folder),
        "dim": DIM,
        "logit_scale": scale,
        "languages": [],
        "source": f"projection heads on {VISION_MODEL} and {TEXT_MODEL}",
    }
    text = TextTower(encoder, "first", heads["text"])
    vision = VisionTower(visual, heads["vision"], vision_input)
    towers = DualEncoder(text, vision, inputs, nn.Parameter(torch.tensor(scale).log()))
    return Checkpoint(text_folder, towers.eval(), tokenizer, meta)


def _logit_scale(about: Path) -> float:
    if not about.exists():
        return LOGIT_SCALE
    found = read_json(about).get("logit_scale")
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
    head = ProjectionHead(widths[tower], layers=layers or 3)
    other = "vision" if tower == "text" else "text"
    found = state.get("linear1.weight")
    if found is not None and widths[tower] != widths[other] and found.shape == (DIM, widths[other]):
        raise CheckpointError(
            f"{path}: linear1.weight has the shape {list(found.shape)}, which is that of the {other} head; "
            "are the two files swapped?"
        )
    load_strict(head, state, path)
    return head


def _vision_weights(folder: Path) -> Path:
    own = folder / VISION_MODEL
    if (own / open_clip.CONFIG).exists():
        return open_clip.weights_of(own)
    return require(own / f"{VISION_MODEL}.pt")


def vision_model(folder: Path) -> tuple[Any, VisionInput]:
    """The image model in the folder of its name, a module of open_clip's, and what it takes.

    Raises:
        CheckpointError: it is missing, or is not what its files say.
    """
    own, weights = folder / VISION_MODEL, _vision_weights(folder)
    if (own / open_clip.CONFIG).exists():
        path, config, preprocessing = open_clip.read_config(own)
        state = read_state(weights)
    else:
        path, config, preprocessing = weights, open_clip.package().get_model_config(VISION_MODEL), {}
        state = _openai_state(weights)
    model = open_clip.build(path, open_clip.package().CLIP, config)
    load_strict(model, state, weights, allowed=OPENAI_NUMBERS)
    return model.visual, open_clip_images.vision_input(path, config["vision_cfg"], preprocessing)


def _openai_state(path: Path) -> dict[str, Tensor]:
    """The tensors of OpenAI's own file, a TorchScript program.

    Loading such a program can do anything, so it must be the one that OpenAI published, to the byte.
    """
    due = openai_sha256()
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != due:
        raise CheckpointError(
            f"{path}: its SHA-256 is {found}, and OpenAI's {VISION_MODEL}.pt has {due}; a TorchScript "
            "program from elsewhere is not loaded. Safetensors beside an open_clip_config.json are."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Nothing but TorchScript reads it.
        return dict(torch.jit.load(path, map_location="cpu").state_dict())


def openai_sha256() -> str:
    """The checksum of OpenAI's file, which is part of its published address."""
    return str(open_clip.package().get_pretrained_cfg(VISION_MODEL, "openai")["url"]).split("/")[-2]
