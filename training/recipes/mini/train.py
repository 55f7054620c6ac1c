"""Train a small multilingual CLIP on the emoji–CLDR data set.

    python -m training.recipes.mini.train runs/mini --stage contrastive --steps 4700 --small-steps 3000
    python -m training.recipes.mini.train runs/mini --stage teacher --steps 15600

Two stages, as the public systems have them:

contrastive   Both towers learn together, images against captions (CLIP). One learned vector a concept, the
              anchor, is a third party to the loss: with few images and a million captions it carries what
              either side has learned to the other, and each tower learns several times faster for it. The
              first --small-steps see images at --small-size, which cost a quarter and teach nearly as much.
teacher       The vision tower is frozen and is the teacher: its mean embedding of a concept's drawings is
              what every caption of the concept, in every language, is drawn to (AltCLIP's first stage, with
              a softmax over all concepts in place of the squared error). Only the text tower moves, so a
              step costs no image, and it passes over the captions many more times. The teacher's vectors
              stay with the text tower as its memory, which then answers with their mean under that softmax.

A run is resumed by the same command; after it ends, `RUN/checkpoint` holds the checkpoint. With --start the
second stage goes on from a checkpoint, such as training/recipes/mini/checkpoint, whose image tower stays as
it is.
"""

import argparse
import json
import math
import os
import random
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from handlers.runtime.machine import usable_cores
from models import checkpoint, outputs
from models.files.plain_text import plain
from models.modules import DualEncoder, ModelConfig, TextConfig
from models.revision import revision
from training.recipes.mini import data, losses, tokenizer
from training.recipes.mini.dataset import TRAIN_FAMILIES, ensure

TEXT_DECAY, VISION_DECAY = 0.02, 0.05  # the text tower is to remember its captions
# Of the cosines between images and of images with anchors: a learned scale grows until it tells apart what
# differs by a hair, and then nothing draws one drawing to the next.
IMAGE_SCALE = 20.0
LENGTH_GROUPS = 6  # captions of a batch are padded in this many groups of like length


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of the run: state, log and checkpoint")
    parser.add_argument("--data", type=Path, default=Path("data/emoji"), help="built when absent")
    parser.add_argument("--stage", choices=("contrastive", "teacher"), required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument(
        "--start",
        type=Path,
        help="in the teacher stage: a checkpoint to go on from, instead of the first stage",
    )
    parser.add_argument("--small-steps", type=int, default=0, help="of them, first steps with small images")
    parser.add_argument("--small-size", type=int, default=32, help="side of the small images, in pixels")
    parser.add_argument("--concepts", type=int, default=128, help="concepts in a step")
    parser.add_argument("--drawings", type=int, default=2, help="drawings of each, by different families")
    parser.add_argument("--hold-out", nargs="*", default=[], metavar="LOCALE", help="locales left out")
    parser.add_argument("--locales", nargs="+", help="of the captions (default: all in the data)")
    parser.add_argument(
        "--teacher-captions", type=int, default=1024, help="captions in a step of the teacher stage"
    )
    parser.add_argument("--lr-vision", type=float, default=1.5e-3)
    parser.add_argument("--lr-text", type=float, default=6e-3)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--save-every", type=int, default=200, help="steps between resumable states")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=usable_cores())
    return parser.parse_args()


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where the hardware multiplies it; elsewhere it is emulated, and slower than float32."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast)


def learning_rate(step: int, steps: int, warmup: int, small_steps: int) -> float:
    """Factor of the peak rate: warm-up, then a cosine down to 1 %; at full size, again from half the peak.

    What the small images taught does not carry over to full size by itself: a rate that has run down when the
    size changes leaves the tower unable to adapt.
    """
    if step >= small_steps > 0:
        return 0.5 * learning_rate(step - small_steps, steps - small_steps, warmup // 4, 0)
    end = small_steps or steps
    if step < warmup:
        return (step + 1) / warmup
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (step - warmup) / max(1, end - warmup))) / 2


def parameter_groups(module: torch.nn.Module, rate: float, decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices, none for gains and biases; word embeddings, most of whose rows a step does
    not touch, go at twice the rate."""
    words = [p for name, p in module.named_parameters() if "word_embeddings" in name]
    matrices = [p for name, p in module.named_parameters() if p.ndim > 1 and "word_embeddings" not in name]
    vectors = [p for p in module.parameters() if p.ndim <= 1]
    return [
        {"params": words, "peak": 2 * rate, "weight_decay": decay},
        {"params": matrices, "peak": rate, "weight_decay": decay},
        {"params": vectors, "peak": rate, "weight_decay": 0.0},
    ]


def draw_images(of_concept: list[int], count: int, chance: random.Random) -> list[int]:
    """`count` drawings of a concept, each by another family while there are enough."""
    if count <= len(of_concept):
        return chance.sample(of_concept, count)
    return [*of_concept, *chance.choices(of_concept, k=count - len(of_concept))]


def embed_captions(model: DualEncoder, rows: list[list[int]], device: torch.device) -> Tensor:
    """[len(rows), dim], in order; groups of like length keep the padding short."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    size = -(-len(order) // LENGTH_GROUPS)
    parts = []
    for start in range(0, len(order), size):
        ids, mask = data.pad([rows[i] for i in order[start : start + size]], model.config.text.max_tokens)
        parts.append(model.text.query(ids.to(device), mask.to(device)))
    back = torch.empty(len(order), dtype=torch.int64)
    back[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(parts)[back.to(device)]


@torch.no_grad()
def teacher_targets(
    model: DualEncoder, drawings: data.Drawings, concepts: int, device: torch.device
) -> Tensor:
    """[concepts, dim]: the mean embedding of each concept's drawings, by the vision tower as it is."""
    model.vision.eval()
    total = torch.zeros(concepts, model.config.dim, device=device)
    for start in range(0, len(drawings.label), 256):
        part = slice(start, start + 256)
        total.index_add_(0, drawings.label[part].to(device), model.vision(drawings.pixels[part].to(device)))
    return torch.nn.functional.normalize(total, dim=-1)


def save_state(path: Path, state: dict[str, object]) -> None:
    scratch = path.with_suffix(".partial")
    torch.save(state, scratch)
    os.replace(scratch, path)


def main() -> None:
    options = parse()
    outputs.check("training.recipes.mini.train", "RUN", options.run)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    chance = random.Random(options.seed)
    noise = torch.Generator().manual_seed(options.seed)
    device = torch.device(options.device)
    run: Path = options.run
    run.mkdir(parents=True, exist_ok=True)
    root = ensure(options.data)

    config = ModelConfig(text=TextConfig(memory=len(data.read_concepts(root))))
    locales = data.locales_of(root)
    words_path = run / "tokenizer.json"
    if options.start is not None and options.stage != "teacher":
        sys.exit("training.recipes.mini.train: --start is for the teacher stage")
    if options.start is not None and not words_path.exists():
        shutil.copyfile(options.start / "tokenizer.json", words_path)
    if not words_path.exists():
        texts = [
            text
            for locale in locales
            for row in data.read_locale(root, locale).values()
            for text in (row["name"], " ".join(row["keywords"]))  # type: ignore[call-overload]
        ]
        tokenizer.train(texts, config.text.vocab_size).save(str(words_path))
    words = Tokenizer.from_file(str(words_path))
    wanted = [one for one in options.locales or locales if one not in options.hold_out]
    unknown = sorted({*options.hold_out, *wanted} - set(locales))
    if unknown:
        sys.exit(f"training.recipes.mini.train: the data has no locale {', '.join(unknown)}")
    held_out = sorted(set(locales) - set(wanted))
    captions = data.load_captions(root, plain(words), wanted)
    drawings = data.load_drawings(root, TRAIN_FAMILIES, config.vision.size)
    concepts = len(captions.of_label)
    images_of: list[list[int]] = [[] for _ in range(concepts)]
    for i, label in enumerate(drawings.label.tolist()):
        images_of[label].append(i)

    trained = [c for c in range(concepts) if captions.of_label[c] and images_of[c]]
    if options.stage == "contrastive" and options.drawings < 2:
        sys.exit(
            "training.recipes.mini.train: --drawings must be at least 2:"
            " each looks for another of its concept"
        )
    if options.stage == "contrastive" and options.concepts > len(trained):
        count = len(trained)
        sys.exit(
            f"training.recipes.mini.train: --concepts {options.concepts}, and {count} have captions"
            " and drawings"
        )

    model = DualEncoder(config).to(device)
    model.text.encoder.set_attn_implementation("eager")  # torch's fused one is slower on rows this short
    anchors = torch.nn.Parameter(torch.randn(concepts, config.dim, device=device))
    teaching = options.stage == "teacher"
    state_path = run / f"{options.stage}.pt"
    stages: dict[str, object] = {}
    if teaching and options.start is not None:
        begun = checkpoint.load(options.start)
        of_text = replace(begun.model.config.text, memory=config.text.memory)
        if replace(begun.model.config, text=of_text) != config:
            sys.exit(
                f"training.recipes.mini.train: {options.start} has another architecture than"
                " this command trains"
            )
        weights = begun.model.state_dict()
        weights["text.memory.vectors"] = model.text.memory.vectors.detach()
        model.load_state_dict(weights)
        stages["start"] = {"space": begun.meta["space"], **begun.meta["training"]}
    elif teaching:
        before = run / "contrastive.pt"
        if not before.exists():
            sys.exit(
                f"training.recipes.mini.train: the teacher stage starts from {before}, which is not there"
            )
        first = torch.load(before, map_location=device, weights_only=True)
        model.load_state_dict(first["model"])
        stages["contrastive"] = {
            "steps": first["step"],
            "seconds": round(first["seconds"]),
            "held_out_locales": first["held_out_locales"],
        }
    groups = parameter_groups(model.text, options.lr_text, TEXT_DECAY)
    if teaching:
        model.vision.requires_grad_(False)
    else:
        groups += parameter_groups(model.vision, options.lr_vision, VISION_DECAY)
        groups.append({"params": [anchors], "peak": 3e-2, "weight_decay": 0.0})
    groups.append({"params": [model.log_scale], "peak": 1e-3, "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), eps=1e-6, fused=True)

    step, spent = 0, 0.0
    if state_path.exists():
        state = torch.load(state_path, map_location=device, weights_only=True)
        if state["held_out_locales"] != held_out:
            before = " ".join(state["held_out_locales"]) or "none"
            sys.exit(f"training.recipes.mini.train: {run} was begun with other locales held out: {before}")
        model.load_state_dict(state["model"])
        anchors.data.copy_(state["anchors"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"].cpu())
        noise.set_state(state["noise"].cpu())
        chance.setstate((state["chance"][0], tuple(state["chance"][1]), state["chance"][2]))
        step, spent = state["step"], state["seconds"]
    targets = teacher_targets(model, drawings, concepts, device) if teaching else None
    if targets is not None:
        model.text.memory.requires_grad_(False)
        model.text.memory.vectors.copy_(targets)
    fast = autocast(device)
    log = (run / "log.jsonl").open("a", encoding="utf-8")
    print(
        f"{options.stage}: {concepts} concepts, {len(drawings.label)} drawings, {len(captions.names)} names",
        flush=True,
    )

    started = time.monotonic() - spent
    shown, since = step, time.monotonic()
    while step < options.steps:
        model.text.train()
        model.vision.train(not teaching)  # frozen means eval mode too, or its BatchNorm would drift
        for group in optimizer.param_groups:
            factor = learning_rate(step, options.steps, options.warmup, options.small_steps)
            group["lr"] = group["peak"] * factor
        if teaching:
            rows = data.rows_of_step(len(captions.names), options.teacher_captions, step, options.seed)
            labels = [captions.label[row] for row in rows]
            with fast:
                text = embed_captions(
                    model, [data.draw_caption(captions, row, chance) for row in rows], device
                )
            loss = losses.to_anchors(
                text, targets, torch.tensor(labels, device=device), config.text.memory_scale
            )
        else:
            drawn = chance.sample(trained, options.concepts)
            labels = [c for c in drawn for _ in range(options.drawings)]
            picked = [i for c in drawn for i in draw_images(images_of[c], options.drawings, chance)]
            label = torch.tensor(labels, device=device)
            size = options.small_size if step < options.small_steps else config.vision.size
            pixels = data.augment(drawings.pixels[picked], noise, size).to(device)
            with fast:
                image = model.vision(pixels)
                rows = [chance.choice(captions.of_label[c]) for c in labels]
                text = embed_captions(
                    model, [data.draw_caption(captions, row, chance) for row in rows], device
                )
            scale = model.scale()
            loss = losses.contrastive(image, text, label, label, scale)
            loss = loss + losses.among_images(image, label, IMAGE_SCALE)
            loss = loss + losses.to_anchors(image, anchors, label, IMAGE_SCALE)
            loss = loss + losses.to_anchors(text, anchors, label, scale)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for g in groups for p in g["params"]], 1.0)  # type: ignore[attr-defined]
        optimizer.step()
        step += 1

        if step % 50 == 0 or step == options.steps:
            now = time.monotonic()
            pace = (now - since) / (step - shown)
            shown, since = step, now
            row = {"stage": options.stage, "step": step, "loss": round(float(loss.detach()), 4)}
            row |= {"scale": round(float(model.scale().detach()), 2), "s_per_step": round(pace, 3)}
            if not teaching:
                row["image_right"] = round(
                    label[(image @ text.T).argmax(1)].eq(label).float().mean().item(), 3
                )
            else:
                row["text_right"] = round(
                    (text @ targets.T).argmax(1).cpu().eq(torch.tensor(labels)).float().mean().item(), 3
                )
            log.write(json.dumps(row) + "\n")
            log.flush()
            left = (options.steps - step) * pace / 60
            print(f"{row}  {left:.1f} min left", flush=True)
        if step % options.save_every == 0 or step == options.steps:
            version, internal, gauss = chance.getstate()
            save_state(
                state_path,
                {
                    "model": model.state_dict(),
                    "anchors": anchors.detach(),
                    "optimizer": optimizer.state_dict(),
                    "rng": torch.get_rng_state(),
                    "noise": noise.get_state(),
                    "chance": [version, list(internal), gauss],
                    "step": step,
                    "seconds": time.monotonic() - started,
                    "held_out_locales": held_out,
                },
            )

    about = {
        "data": "emoji–CLDR",
        "families": list(TRAIN_FAMILIES),
        "stages": {
            **stages,
            options.stage: {
                "steps": step,
                "seconds": round(time.monotonic() - started),
                "held_out_locales": held_out,
            },
        },
        "revision": revision(),
    }
    space = checkpoint.save(run / "checkpoint", model.eval(), words, languages=wanted, training=about)
    print(f"{run / 'checkpoint'}: space {space}")


if __name__ == "__main__":
    main()
