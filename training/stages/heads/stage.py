"""Projection heads learn on frozen towers, images against captions.

The towers are OpenAI's RN50x4 and XLM-R base, or others that `models.loaders.backbones` knows. `python -m
training` calls `train_on` in one process for each device. The checkpoint folder gets

    text-TYPE.ckpt, vision-TYPE.ckpt   the heads as bare state dicts, TYPE being the data's: coco or googlecc
    RN50x4, xlm-roberta-base           links to the frozen models: the folder is one that export takes
    heads.json                         the models' names, the learned logit scale, how far the run is
    log.jsonl                          losses while training, and held-out loss and recall of each epoch
    states/                            resumable states

The towers are in evaluation mode throughout: nothing in them learns, BatchNorm's statistics included.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from models.files.weights import CheckpointError
from training import devices, distributed, loop, losses
from training.datasets import splitting
from training.datasets.loading import Batch
from training.datasets.rows import DataError
from training.devices import Device
from training.evaluation import metrics
from training.loop import RunError, Settings
from training.run_log import RunLogger
from training.stages.heads import files as heads_files
from training.stages.heads import inputs
from training.stages.heads.options import HeadsOptions, OptionsError

WARMUP_SHARE, MAX_WARMUP = 0.05, 1000  # of all steps, and at most so many
RECALL_ROWS = 5000  # held-out pairs among which is searched, as many as COCO's usual test set has

Refusals = (OptionsError, CheckpointError, DataError, RunError)
"""What a user can mend; each is one sentence."""


def train_on(options: HeadsOptions) -> None:
    """Be one process of the run, as RANK, LOCAL_RANK and WORLD_SIZE of the environment say.

    Raises:
        OptionsError, CheckpointError, DataError, RunError: see `Refusals`.
    """
    try:
        device = devices.choose(options.train_device)
    except RuntimeError as error:
        raise OptionsError(f"--train-device {options.train_device}: {error}") from error
    if options.hyperparam_precision == 32:
        device = dataclasses.replace(device, bfloat16=False)
    devices.share_cores(device, options.distributed_parallel_devices)
    distributed.start(device)
    try:
        train(options, device)
    finally:
        distributed.stop()


def train(options: HeadsOptions, device: Device) -> None:
    """Train the heads to the last epoch; every process calls it, process 0 prints and writes."""
    torch.manual_seed(options.seed + distributed.rank())  # Dropout differs; heads become those of process 0.
    heads = Heads(options, device)
    steps = options.hyperparam_epochs * heads.in_epoch
    settings = Settings(
        out=options.checkpoint_dir,
        epochs=options.hyperparam_epochs,
        lr=options.hyperparam_lr,
        warmup=min(MAX_WARMUP, int(WARMUP_SHARE * steps)),
        write_every=options.checkpoint_save_every_n,
        keep=options.keep,
        resume=options.resume,
    )
    writes = distributed.rank() == 0
    if writes:
        heads_files.link_models(options)
    logger = RunLogger(
        options.checkpoint_dir,
        writes=writes,
        wandb=options.wandb_project if options.wandb_enabled else None,
        settings=dataclasses.asdict(options),
    )
    heads.introduce(logger)
    loop.run(heads, settings, device, logger)


class Heads(loop.Stage[Batch]):
    """See the module."""

    learned: inputs.Learned

    def __init__(self, options: HeadsOptions, device: Device) -> None:
        self.options, self.device = options, device
        read = inputs.read_frozen(options.models_dir, options.model_visual_name, options.model_textual_name)
        self.frozen, self.tokenizer = read.towers, read.tokenizer
        self.learned = inputs.fresh_heads(options, read).to(device.torch_device)
        self.examples = inputs.read_examples(options)
        share = 1 - options.dataset_train_split
        self.training, self.held_out = splitting.split(self.examples, share=share, seed=options.seed)
        self.loader, self.held_out_loader = (
            inputs.batches_of(part, options, self.frozen) for part in (self.training, self.held_out)
        )
        self.in_epoch = self.loader.order.steps
        self.rows = options.hyperparam_batch_size * options.world_size
        self.fixed = heads_files.settings(options)

        self.frozen.to(device.torch_device)
        device.compile(self.frozen.text.encoder)
        device.compile(self.frozen.vision.encoder)
        bucket_mb = options.distributed_bucket_cap_mb
        self.frozen.text.projection = distributed.replicated(self.learned.text, bucket_mb=bucket_mb)
        self.frozen.vision.projection = distributed.replicated(self.learned.vision, bucket_mb=bucket_mb)
        self.scale = distributed.replicated(self.learned.scale)

    def introduce(self, logger: RunLogger) -> None:
        """Say what the run is."""
        if self.examples.left_out.counts:
            logger.info(str(self.examples.left_out))
        options, device = self.options, self.device
        logger.info(
            f"{options.dataset_type}: {len(self.training):,} images to train on, {len(self.held_out):,} held "
            f"out; {options.hyperparam_epochs} epochs of {self.in_epoch} steps of "
            f"{options.hyperparam_batch_size} × {options.world_size}; "
            f"{device.kind}, {'bfloat16' if device.bfloat16 else 'float32'}"
        )

    def batches(self, epoch: int, first: int) -> Iterator[Batch]:
        yield from self.loader.batches(epoch=epoch, step=first, until=epoch + 1)
        if self.loader.broken and distributed.rank() == 0:
            print(self.loader.report(), flush=True)

    def loss(self, batch: Batch) -> Tensor:
        return self._embed(batch)[0]

    def after_step(self) -> None:
        self.learned.scale.clamp()

    def _embed(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """This process's loss, a scalar; image and text [B, dim]; labels [B, 2], image's and caption's."""
        device = self.device.torch_device
        ids, mask = inputs.tokens(self.tokenizer, batch.captions)
        captions = torch.tensor([losses.label_of(caption) for caption in batch.captions])
        label = torch.stack([batch.index, captions], dim=1).to(device)
        with self.device.autocast():
            image = self.frozen.vision(batch.pixels.to(device))
            text = self.frozen.text(ids.to(device), mask.to(device))
        return losses.contrastive(image, text, label, self.scale()), image, text, label

    def measure(self) -> dict[str, float]:
        """Loss and recall@1 on held-out pairs: always the same ones, so that epochs can be compared."""
        held_out: list[float] = []
        images: list[Tensor] = []
        texts: list[Tensor] = []
        labels: list[Tensor] = []
        for batch in self.held_out_loader.batches(until=1):
            loss, *rows = self._embed(batch)
            held_out.append(loss.item())
            image, text, label = (distributed.gather(part).cpu() for part in rows)
            if sum(len(part) for part in images) < RECALL_ROWS:
                images.append(image)
                texts.append(text)
                labels.append(label)
        image, text, label = (torch.cat(parts)[:RECALL_ROWS] for parts in (images, texts, labels))
        found = distributed.mean({"held_out_loss": sum(held_out) / len(held_out)}, self.device)
        recalls = {
            "image_retrieval_recall@1": metrics.recall_at_1(text, image, label),
            "text_retrieval_recall@1": metrics.recall_at_1(image, text, label),
        }
        scale = self.learned.scale().item()
        return {**found, **recalls, "scale": scale, "score": sum(recalls.values()) / 2}

    def write(self, about: dict[str, Any]) -> None:
        heads_files.write_heads(self.options, self.learned, {**about, "images": len(self.training)})
