"""Projection heads learn on frozen towers: OpenAI's RN50x4 and XLM-R base, images against captions.

`python -m training` calls `train_on` in one process for each device. The checkpoint folder gets

    text-TYPE.ckpt, vision-TYPE.ckpt   the heads as bare state dicts, TYPE being the data's: coco or googlecc
    RN50x4, xlm-roberta-base           links to the frozen models: the folder is one that export takes
    heads.json                         the learned logit scale, how far the run is, its settings
    log.jsonl                          losses while training, and held-out loss and recall of each epoch
    states/                            resumable states; a run goes on from the end of an epoch

The towers are in evaluation mode throughout: nothing in them learns, BatchNorm's statistics included.
"""

import dataclasses
import math
import os
import time
from collections.abc import Callable

import torch
from torch import Tensor

from training import devices, distributed, heads_files, heads_inputs, objectives, optimisation, states
from training.datasets import splitting
from training.datasets.loading import Batch, Loader
from training.datasets.rows import DataError
from training.devices import Device
from training.evaluation import metrics
from training.heads_options import HeadsOptions, OptionsError
from training.source_files import CheckpointError

CLIP_NORM = 1.0
WARMUP_SHARE, MAX_WARMUP = 0.05, 1000  # of all steps, and at most so many
LOG_EVERY = 20  # steps
RECALL_ROWS = 5000  # held-out pairs among which is searched, as many as COCO's usual test set has

Refusals = (OptionsError, CheckpointError, DataError)
"""What a user can mend; each is one sentence."""


def train_on(options: HeadsOptions) -> None:
    """Be one process of the run, as RANK, LOCAL_RANK and WORLD_SIZE of the environment say.

    Raises:
        OptionsError, CheckpointError, DataError: see `Refusals`.
    """
    try:
        device = devices.choose(options.train_device)
    except RuntimeError as error:
        raise OptionsError(f"--train-device {options.train_device}: {error}") from error
    if options.hyperparam_precision == 32:
        device = dataclasses.replace(device, bfloat16=False)
    if options.distributed_parallel_devices > 1 and device.kind == "cpu":
        # Else each process would take all cores, and they would wait for one another.
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // options.distributed_parallel_devices))
    distributed.start(device)
    try:
        train(options, device)
    finally:
        distributed.stop()


def train(options: HeadsOptions, device: Device) -> None:
    """Train the heads to the last epoch; every process calls it, process 0 prints and writes."""
    folder, writes = options.checkpoint_dir, distributed.rank() == 0
    torch.manual_seed(options.seed + distributed.rank())  # Dropout differs; heads become those of process 0.
    frozen, tokenizer = heads_inputs.read_frozen(options.models_dir)
    learned = heads_inputs.fresh_heads(options, frozen).to(device.torch_device)
    optimizer = optimisation.adamw(optimisation.parameter_groups(learned, rate=options.hyperparam_lr), device)
    examples = heads_inputs.read_examples(options)
    training, held_out = splitting.split(examples, share=1 - options.dataset_train_split, seed=options.seed)
    loader, held_out_loader = (
        heads_inputs.batches_of(part, options, frozen) for part in (training, held_out)
    )
    epochs, in_epoch = options.hyperparam_epochs, loader.order.steps
    steps = epochs * in_epoch
    warmup = min(MAX_WARMUP, int(WARMUP_SHARE * steps))
    first = heads_files.resumed(options, learned, optimizer, device)

    frozen.to(device.torch_device)
    device.compile(frozen.text.encoder)
    device.compile(frozen.vision.encoder)
    bucket_mb = options.distributed_bucket_cap_mb
    frozen.text.head = distributed.replicated(learned.text, bucket_mb=bucket_mb)
    frozen.vision.head = distributed.replicated(learned.vision, bucket_mb=bucket_mb)
    scale = distributed.replicated(learned.scale)

    def loss_of(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """This process's loss, a scalar; image and text [B, dim]; labels [B, 2], image's and caption's."""
        ids, mask = heads_inputs.tokens(tokenizer, batch.captions)
        captions = torch.tensor([objectives.label_of(caption) for caption in batch.captions])
        label = torch.stack([batch.index, captions], dim=1).to(device.torch_device)
        with device.autocast():
            image = frozen.vision(batch.pixels.to(device.torch_device))
            text = frozen.text(ids.to(device.torch_device), mask.to(device.torch_device))
        return objectives.contrastive(image, text, label, scale()), image, text, label

    log = heads_files.start_log(options, examples) if writes else lambda row: None
    if writes:
        print(
            f"{options.dataset_type}: {len(training):,} images to train on, {len(held_out):,} held out; "
            f"{epochs} epochs of {in_epoch} steps of {options.hyperparam_batch_size} × {options.world_size}; "
            f"{device.kind}, {'bfloat16' if device.bfloat16 else 'float32'}",
            flush=True,
        )
    started = time.monotonic()
    for epoch in range(first, epochs):
        learned.train()
        total = torch.zeros((), device=device.torch_device)
        for batch in loader.batches(epoch=epoch, until=epoch + 1):
            step = epoch * in_epoch + batch.step
            optimisation.set_rates(optimizer, optimisation.rate_factor(step, steps=steps, warmup=warmup))
            loss = loss_of(batch)[0]
            optimizer.zero_grad()
            loss.backward()
            device.mark_step()
            norm = optimisation.clip_gradients(learned.parameters(), CLIP_NORM)
            optimizer.step()
            learned.scale.clamp()
            device.mark_step()
            total += loss.detach()

            if (step + 1) % LOG_EVERY == 0 or batch.step + 1 == in_epoch:
                done = step + 1 - first * in_epoch
                pace = (time.monotonic() - started) / done  # seconds, the measuring of epochs included
                row = distributed.mean({"loss": loss.item(), "norm": norm.item()}, device)
                if not math.isfinite(row["loss"]):
                    raise OptionsError(
                        f"the loss is {row['loss']} at step {step + 1}: a lower --hyperparam-lr?"
                    )
                row |= {"scale": learned.scale().item(), "lr": optimizer.param_groups[0]["lr"]}
                row |= {"pairs_per_s": options.hyperparam_batch_size * options.world_size / pace}
                log({"epoch": epoch + 1, "step": step + 1, **row})
                if writes:
                    place = f"epoch {epoch + 1}/{epochs}  step {batch.step + 1}/{in_epoch}"
                    rate = f"{row['pairs_per_s']:.1f} pairs/s  {pace * (steps - step - 1) / 60:.1f} min left"
                    print(f"{place}  loss {row['loss']:.4f}  scale {row['scale']:.1f}  {rate}", flush=True)

        learned.eval()
        row = distributed.mean({"training_loss": total.item() / in_epoch}, device)
        row |= measured(held_out_loader, loss_of, device)
        log({"epoch": epoch + 1, "step": (epoch + 1) * in_epoch, **row})
        if writes:
            print("  ".join(f"{name} {value:.4f}" for name, value in row.items()), flush=True)
        if (epoch + 1) % options.checkpoint_save_every_n == 0 or epoch + 1 == epochs:
            score = (row["image_retrieval_recall@1"] + row["text_retrieval_recall@1"]) / 2
            position = states.Position(
                (epoch + 1) * in_epoch, {"epoch": epoch + 1, "settings": heads_files.settings(options)}, score
            )
            states.save(folder / "states", learned, optimizer, device, position, keep=options.keep)
            if writes:
                heads_files.write_heads(
                    options, learned, {"epoch": epoch + 1, "images": len(training), **row}
                )
    if writes and loader.broken:
        print(loader.report())


@torch.no_grad()
def measured(
    loader: Loader, loss_of: Callable[[Batch], tuple[Tensor, Tensor, Tensor, Tensor]], device: Device
) -> dict[str, float]:
    """Loss and recall@1 on held-out pairs: always the same ones, so that epochs can be compared."""
    losses: list[float] = []
    images: list[Tensor] = []
    texts: list[Tensor] = []
    labels: list[Tensor] = []
    for batch in loader.batches(until=1):
        loss, *rows = loss_of(batch)
        losses.append(loss.item())
        image, text, label = (distributed.gather(part).cpu() for part in rows)
        if sum(len(part) for part in images) < RECALL_ROWS:
            images.append(image)
            texts.append(text)
            labels.append(label)
    image, text, label = (torch.cat(parts)[:RECALL_ROWS] for parts in (images, texts, labels))

    found = distributed.mean({"held_out_loss": sum(losses) / len(losses)}, device)
    return found | {
        "image_retrieval_recall@1": metrics.recall_at_1(text, image, label),
        "text_retrieval_recall@1": metrics.recall_at_1(image, text, label),
    }
