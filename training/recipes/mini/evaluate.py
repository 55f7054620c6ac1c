"""Recall of a checkpoint on the held-out emoji drawings, in every locale, both ways.

    python -m training.recipes.mini.evaluate training/recipes/mini/checkpoint --data data/emoji

Each emoji's name in a locale looks for that emoji's Twemoji drawing among all Twemoji drawings (text →
image), and the drawing looks for its name among all names of the locale (image → text). No Twemoji drawing
was ever trained on; the names were. The data set is fetched and built when it is absent.

Beside the model stand two baselines: a random ranking, and the nearest drawing, in which the emoji's
drawings of the training families, averaged, look for the held-out drawing by the cosine of their pixels. The
second knows every language perfectly and sees only pixels.

With --url a served model, such as that of archives in 8-bit integers, is measured beside the checkpoint that
it was exported from, and how much lower its R@10 is:

    python -m training.recipes.mini.evaluate training/recipes/mini/checkpoint --url mar:model_store
"""

import argparse
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tokenizers import Tokenizer
from torch import Tensor

from babelclip import Client
from handlers.runtime.machine import usable_cores
from models import checkpoint, outputs
from models.dual_encoder import DualEncoder
from models.files.npm_packages import PackageError
from training.evaluation.embedding import Embedder, Picture, ServedModel
from training.evaluation.errors import EvaluationError
from training.recipes.mini import data
from training.recipes.mini.dataset import HELD_OUT_FAMILY, TRAIN_FAMILIES, ensure

CUTS = (1, 5, 10)
BATCH = 512
MAX_DROP = 0.005  # of R@10 in the mean of the locales, between a checkpoint and what is served of it


@torch.inference_mode()
def embed_images(model: DualEncoder, pixels: Tensor) -> Tensor:
    """uint8 [N, size, size, 3] → [N, dim]."""
    return torch.cat([model.vision(part) for part in pixels.split(BATCH)])


@torch.inference_mode()
def embed_texts(model: DualEncoder, tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """[len(texts), dim], in order."""
    rows = [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # like lengths together: little padding
    parts = []
    for start in range(0, len(order), BATCH):
        part = order[start : start + BATCH]
        parts.append(model.text(*data.pad([rows[i] for i in part], model.config.text.max_tokens)))
    return torch.cat(parts)[torch.tensor(order).argsort()]


def encoded(pixels: Tensor) -> Iterator[Picture]:
    """uint8 [N, size, size, 3] as PNGs, which are decoded to the same pixels."""
    for number, image in enumerate(pixels.numpy()):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        yield Picture(f"drawing {number}", buffer.getvalue())


def recalls(rank: Tensor) -> dict[str, float]:
    """Share of ranks (0 is best) within each cut."""
    return {f"r{k}": round((rank < k).float().mean().item(), 4) for k in CUTS}


def rank_of(scores: Tensor, right: Tensor) -> Tensor:
    """Rank of each row's best right column; a wrong one with the same score counts as better.

    scores float [Q, C]; right bool [Q, C], at least one per row → int64 [Q].
    """
    best = scores.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
    return ((scores >= best) & ~right).sum(1)


def one_locale(text: Tensor, image: Tensor, labels: list[int], names: list[str]) -> dict[str, Any]:
    """Both directions; text [T, D] are the names of `labels`, image [C, D] has one row per label."""
    label = torch.tensor(labels)
    scores = text @ image.T  # [T, C]
    own = torch.zeros_like(scores, dtype=torch.bool)
    own[torch.arange(len(labels)), label] = True
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    spelling = torch.tensor([number[name] for name in names])
    same = spelling[:, None] == spelling[None, :]  # two emoji may share a name; either copy is then right
    return {
        "queries": len(labels),
        "text_to_image": recalls(rank_of(scores, own)),
        "image_to_text": recalls(rank_of(scores.T[label], same)),
    }


def nearest_drawing(root: Path, held_out: Tensor, size: int) -> dict[str, float]:
    """Recall of mean training drawings looking for the held-out ones by the cosine of their pixels."""
    known = data.load_drawings(root, TRAIN_FAMILIES, size)
    flat = (255 - known.pixels.float()).flatten(1)  # white is 0: the drawing counts, not its background
    mean = torch.zeros(len(held_out), flat.shape[1]).index_add_(0, known.label, flat)
    candidates = (255 - held_out.float()).flatten(1)
    scores = torch.nn.functional.normalize(mean, dim=1) @ torch.nn.functional.normalize(candidates, dim=1).T
    return recalls(rank_of(scores, torch.eye(len(held_out), dtype=torch.bool)))


def evaluate(
    folder: Path, root: Path, locales: list[str] | None = None, served: Embedder | None = None
) -> dict[str, Any]:
    """The whole report: per locale, its mean and worst, and the baselines.

    With `served`, that model's vectors are measured; it must be of the checkpoint's space.

    Raises:
        CheckpointError, EvaluationError: the sentence says what is wrong.
    """
    loaded = checkpoint.load(folder)
    held_out = data.load_drawings(root, (HELD_OUT_FAMILY,), loaded.model.config.vision.size)
    if served is None:
        image = embed_images(loaded.model, held_out.pixels)
    else:
        image = served.embed_images(encoded(held_out.pixels))
        if served.space != loaded.meta["space"]:
            raise EvaluationError(
                f"{served.pretrained} serves the space {served.space}, {folder} is {loaded.meta['space']}"
            )
    label_of = {emoji: label for label, emoji in enumerate(data.read_concepts(root))}
    rows = {}
    for locale in track(
        locales or data.locales_of(root), "locales", console=Console(stderr=True), transient=True
    ):
        captions = data.read_locale(root, locale)
        names = [str(caption["name"]) for caption in captions.values()]
        if served is None:
            text = embed_texts(loaded.model, loaded.tokenizer, names)
        else:
            text = served.embed_texts(names)
        rows[locale] = one_locale(text, image, [label_of[emoji] for emoji in captions], names)
    count = len(held_out.label)
    return {
        "checkpoint": loaded.meta["name"],
        "space": loaded.meta["space"],
        "dataset": f"emoji–CLDR, {HELD_OUT_FAMILY}",
        "candidates": count,
        "mean": {
            way: mean_of([row[way] for row in rows.values()]) for way in ("text_to_image", "image_to_text")
        },
        "worst": {way: worst_of(rows, way) for way in ("text_to_image", "image_to_text")},
        "baselines": {
            "random": {f"r{k}": round(k / count, 4) for k in CUTS},
            "nearest_drawing": nearest_drawing(root, held_out.pixels, loaded.model.config.vision.size),
        },
        "locales": rows,
    }


def mean_of(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(sum(row[key] for row in rows) / len(rows), 4) for key in rows[0]}


def worst_of(rows: dict[str, dict[str, Any]], way: str) -> dict[str, Any]:
    locale = min(rows, key=lambda name: rows[name][way]["r10"])
    return {"locale": locale, **rows[locale][way]}


def compared(rows: dict[str, dict[str, Any]], held_out: list[str]) -> dict[str, Any]:
    """Mean text → image R@10 of the named locales, of the others, and the first as a share of the second."""
    named = [rows[locale]["text_to_image"]["r10"] for locale in held_out]
    others = [row["text_to_image"]["r10"] for locale, row in rows.items() if locale not in held_out]
    found = {name: sum(part) / max(1, len(part)) for name, part in (("held_out", named), ("others", others))}
    return {
        "r10_held_out": round(found["held_out"], 4),
        "r10_others": round(found["others"], 4),
        "held_out_share": round(found["held_out"] / max(found["others"], 1e-9), 4),
    }


def dropped(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """How much lower text → image R@10 is in the second of two reports: in the mean, and where most."""
    drops = {
        locale: row["text_to_image"]["r10"] - after["locales"][locale]["text_to_image"]["r10"]
        for locale, row in before["locales"].items()
    }
    worst = max(drops, key=drops.__getitem__)
    return {
        "r10_drop_mean": round(sum(drops.values()) / len(drops), 4),
        "r10_drop_most": round(drops[worst], 4),
        "drop_most_locale": worst,
    }


def show(report: dict[str, Any]) -> None:
    columns = [f"{way} R@{k}" for way in ("text→image", "image→text") for k in CUTS]
    table = Table("", *columns, title=f"{report['dataset']}: {report['candidates']} candidates")

    def add(name: str, *sides: dict[str, float]) -> None:
        table.add_row(name, *[f"{side[f'r{k}']:.3f}" for side in sides for k in CUTS])

    for locale, row in report["locales"].items():
        add(locale, row["text_to_image"], row["image_to_text"])
    table.add_section()
    add("mean", report["mean"]["text_to_image"], report["mean"]["image_to_text"])
    worst = report["worst"]
    add(f"worst ({worst['text_to_image']['locale']})", worst["text_to_image"], worst["image_to_text"])
    for name, row in report["baselines"].items():
        add(name.replace("_", " "), row)
    Console(width=120).print(table)


def evaluate_served(options: argparse.Namespace) -> dict[str, Any]:
    """The report of the model behind --url.

    Raises:
        EvaluationError: it cannot be reached, or is of another space.
    """
    try:
        client = Client(options.url)
    except (ImportError, ValueError) as error:
        raise EvaluationError(f"--url {options.url}: {error}") from error
    with client:
        served = ServedModel(client, options.url)
        return evaluate(options.checkpoint, options.data, options.locales, served)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data/emoji"), help="built when absent")
    parser.add_argument("--locales", nargs="+", help="only these (default: all)")
    parser.add_argument("--held-out", nargs="+", metavar="LOCALE", help="compare these with the others")
    parser.add_argument("--url", help="what is served of the checkpoint: http://, grpc:// or mar:STORE")
    parser.add_argument(
        "--max-drop",
        type=float,
        default=MAX_DROP,
        help=f"with --url: how much lower its R@10 may be in the mean (default: {MAX_DROP})",
    )
    parser.add_argument("--output", type=Path, help="write the whole report as JSON")
    options = parser.parse_args()
    outputs.check("training.recipes.mini.evaluate", "--output", options.output)
    # Those of the container, which torch does not look at, or fewer, where OMP_NUM_THREADS says so.
    torch.set_num_threads(min(usable_cores(), torch.get_num_threads()))
    drop: dict[str, Any] = {}
    try:
        report = evaluate(options.checkpoint, ensure(options.data), options.locales)
        if options.url:
            before, report = report, evaluate_served(options)
            drop = dropped(before, report)
    except (PackageError, checkpoint.CheckpointError, EvaluationError) as error:
        sys.exit(f"training.recipes.mini.evaluate: {error}")
    unknown = sorted(set(options.held_out or ()) - set(report["locales"]))
    if unknown:
        sys.exit(
            f"training.recipes.mini.evaluate: --held-out names {', '.join(unknown)}, which was not evaluated"
        )
    show(report)
    if options.output:
        options.output.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    mean, worst = report["mean"]["text_to_image"], report["worst"]["text_to_image"]
    result = {
        "locales": len(report["locales"]),
        "r1_mean": mean["r1"],
        "r10_mean": mean["r10"],
        "r10_worst": worst["r10"],
        "worst_locale": worst["locale"],
        "random_r10": report["baselines"]["random"]["r10"],
        "nearest_drawing_r1": report["baselines"]["nearest_drawing"]["r1"],
        "nearest_drawing_r10": report["baselines"]["nearest_drawing"]["r10"],
    }
    if options.held_out:
        result |= compared(report["locales"], options.held_out)
    print("result: " + json.dumps(result | drop))
    if drop and drop["r10_drop_mean"] > options.max_drop:
        sys.exit(f"training.recipes.mini.evaluate: R@10 fell by more than {options.max_drop:g} in the mean")


if __name__ == "__main__":
    main()
