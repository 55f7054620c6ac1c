"""What this stage trains with: frozen towers, the heads on them, and batches of captioned images."""

from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from models.dual_encoder import DualEncoder, Inputs, TextTower, VisionTower
from models.files.weights import load_strict, read_state
from models.loaders import backbones
from models.loaders.backbones import TEXT_MODEL, VISION_MODEL
from models.loaders.projection_heads import ProjectionHead
from training import distributed, losses
from training.datasets import coco, conceptual_captions, loading
from training.datasets.examples import Examples
from training.datasets.loading import Loader
from training.stages.heads.options import HeadsOptions, OptionsError

TOKEN_BUCKET = 16  # texts are padded to a multiple of it: few lengths, so that a compiled tower has few forms


class Learned(nn.Module):
    """All that learns: both heads and the scale of their cosines."""

    def __init__(self, text_width: int, vision_width: int, layers: int) -> None:
        super().__init__()
        self.text = ProjectionHead(text_width, layers=layers)
        self.vision = ProjectionHead(vision_width, layers=layers)
        self.scale = losses.LogitScale()


class Frozen(NamedTuple):
    """Both public models as towers that learn nothing, without their heads, and the tokenizer."""

    towers: DualEncoder
    tokenizer: Tokenizer
    text_width: int
    vision_width: int


def read_frozen(models: Path, visual: str = VISION_MODEL, textual: str = TEXT_MODEL) -> Frozen:
    """The models of these names; see `models.loaders.backbones`.

    Raises:
        CheckpointError: names the file and what is wrong with it.
    """
    texts, images = backbones.read_text(models, textual), backbones.read_vision(models, visual)
    texts.tokenizer.enable_truncation(texts.input.max_tokens)
    texts.tokenizer.enable_padding(pad_id=texts.input.pad_id, pad_to_multiple_of=TOKEN_BUCKET)
    text = TextTower(texts.encoder, texts.pooling, nn.Identity())
    vision = VisionTower(images.encoder, nn.Identity(), images.input)
    inputs, unused = Inputs(texts.input, images.input), nn.Parameter(torch.zeros(()))
    towers = DualEncoder(text, vision, inputs, logit_scale=unused)  # `Learned` has the one that learns.
    return Frozen(towers.requires_grad_(False).eval(), texts.tokenizer, texts.width, images.width)


def fresh_heads(options: HeadsOptions, frozen: Frozen) -> Learned:
    """New heads in the towers' widths, or those of the files that the flags name.

    Raises:
        CheckpointError: a file does not hold a head of this tower and number of layers.
    """
    learned = Learned(frozen.text_width, frozen.vision_width, options.hyperparam_num_layers)
    starts = (
        (learned.text, options.checkpoint_load_text_path),
        (learned.vision, options.checkpoint_load_vision_path),
    )
    for head, path in starts:
        if path is not None:
            # Copies, because training writes where the file's mapped tensors lie.
            load_strict(head, {key: value.clone() for key, value in read_state(path).items()}, path)
    return learned


def read_examples(options: HeadsOptions) -> Examples:
    """The captioned images of --dataset-dir; rows that are malformed or lack their image are counted.

    Raises:
        DataError: files are missing or of another layout.
    """
    folder = options.dataset_dir
    if options.dataset_type == "coco":
        annotations = folder / "annotations" / "captions_train2014.json"
        found = coco.read(annotations, folder / "train2014", strict=False)
    else:
        found = conceptual_captions.read(folder, strict=False)
    if options.dataset_subset_size is None:
        return found
    part = found[: options.dataset_subset_size]
    part.left_out = found.left_out
    return part


def batches_of(part: Examples, options: HeadsOptions, frozen: DualEncoder) -> Loader:
    """This process's batches of one side of the split, all full.

    Raises:
        OptionsError: the part does not fill a step.
    """
    batch, world = options.hyperparam_batch_size, options.world_size
    if len(part) < batch * world:
        raise OptionsError(
            f"after --dataset-train-split {options.dataset_train_split} a part has {len(part)} images, which "
            f"do not fill a step of {batch} × {world}: a smaller --hyperparam-batch-size, or more images"
        )
    return loading.decoded(
        part,
        frozen.config.vision.size,
        batch=batch,
        workers=options.dataset_num_workers,
        seed=options.seed,
        rank=distributed.rank(),
        world=world,
        drop_last=True,
    )


def tokens(tokenizer: Tokenizer, captions: list[str]) -> tuple[Tensor, Tensor]:
    """ids and mask int64 [N, L], L a multiple of TOKEN_BUCKET up to the text model's limit."""
    found = tokenizer.encode_batch(captions)
    return torch.tensor([one.ids for one in found]), torch.tensor([one.attention_mask for one in found])
