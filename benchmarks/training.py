"""How fast a vision–text dual encoder trains, in the article's shape: ViT-B/32 with RoBERTa base.

    python -m benchmarks.training [--images 512] [--batch 64] [--device cpu] [--quick]

The article about CLIP on Gaudi 2 trains such a model on COCO's rows. Its figure is 15 min 01 s for three
epochs on one card, projections alone, the initialisation of the data set included. It states neither the
batch nor how many rows an epoch has, so no rate follows from it, and none is printed beside ours.

Here the model has random weights, and the rows are photographs of 640×480 in COCO's row format, each decoded
every time it is needed, as in a real run. `training.stages.contrastive --train both` and `--train heads` run
as commands. Rates are given twice:

    without initialisation   rows over the time of the training loop alone, by its own log
    with initialisation      rows over the whole life of the command, from its start to the model on disk
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.support import inputs, report, towers
from benchmarks.support.options import make_parser, parse
from benchmarks.support.towers import REPOSITORY
from benchmarks.support.vocabularies import ROBERTA_MARKERS, tokenizer
from training import devices

ARTICLE = "15 min 01 s for three epochs of COCO on one Gaudi 2, projections alone, initialisation included"
TOKENS = 50_265  # RoBERTa's
SETTINGS = "preprocessor_config.json"
PREPROCESSING = {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "resample": 3,  # bicubic
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_normalize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
TRAINED = {"full": "both", "heads": "heads"}


def ensure_model(*, quick: bool = False) -> Path:
    """The article's dual encoder with random weights, made once; with `quick` two layers of width 64."""
    folder = towers.FOLDER / ("clip-roberta-quick" if quick else "clip-roberta")
    if (folder / SETTINGS).exists():
        return folder
    # Here, because it works only after `training` has made torchvision importable.
    from transformers import (
        CLIPVisionConfig,
        RobertaConfig,
        VisionTextDualEncoderConfig,
        VisionTextDualEncoderModel,
    )

    print(f"training: making {folder.name} with random weights", flush=True)
    torch.manual_seed(0)
    width, layers, heads = (64, 2, 2) if quick else (768, 12, 12)
    shape: dict[str, Any] = {"hidden_size": width, "intermediate_size": 4 * width}
    shape |= {"num_hidden_layers": layers, "num_attention_heads": heads}
    text = RobertaConfig(vocab_size=TOKENS, max_position_embeddings=514, type_vocab_size=1, **shape)
    vision = CLIPVisionConfig(patch_size=32, image_size=224, **shape)
    config = VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=512)
    VisionTextDualEncoderModel(config).save_pretrained(folder)
    tokenizer(TOKENS, *ROBERTA_MARKERS).save(str(folder / "tokenizer.json"))
    # Last: its presence says that the rest is there.
    (folder / SETTINGS).write_text(json.dumps(PREPROCESSING, indent=2), encoding="utf-8")
    return folder


def make_rows(count: int) -> Path:
    """`count` photographs and their rows, in the article's format."""
    folder = towers.FOLDER / "coco-rows"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    photographs, texts = inputs.images(), inputs.texts()
    rows = []
    for i in range(count):
        name = f"{i:012}.jpg"
        # What follows the end of a JPEG is not looked at: the same photograph in files of different content.
        (folder / name).write_bytes(photographs[i % len(photographs)] + i.to_bytes(4, "little"))
        row = {"image_id": i, "caption_id": i, "caption": f"{texts[i % len(texts)]} {i}", "height": 480}
        row |= {"width": 640, "file_name": name, "coco_url": "", "image_path": str(folder / name), "id": i}
        rows.append(row)
    (folder / "train.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder / "train.json"


def train(model: Path, rows: Path, what: str, options: argparse.Namespace) -> dict[str, float]:
    """One run of the command: rows a second, with and without initialisation, and its seconds."""
    out = towers.FOLDER / f"training-{what}"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "training.stages.contrastive", str(model), "--train", TRAINED[what]]
    command += ["--format", "rows", "--data", str(rows), "--out", str(out), "--device", options.device]
    for name in ("batch", "epochs", "workers"):
        command += [f"--{name}", str(getattr(options, name))]
    command += ["--held-out", str(options.held_out), "--seed", "0"]
    began = time.monotonic()
    if status := subprocess.run(command, cwd=REPOSITORY).returncode:
        raise SystemExit(status)  # It has said why.
    whole = time.monotonic() - began
    log = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [row for row in log if "rows_per_s" in row]
    trained = steps[-1]["step"] * options.batch
    shutil.rmtree(out)
    return {
        "rows": trained,
        "rows_per_s": round(steps[-1]["rows_per_s"], 2),
        "rows_per_s_with_initialisation": round(trained / whole, 2),
        "seconds_with_initialisation": round(whole, 1),
    }


def parse_options() -> argparse.Namespace:
    parser = make_parser("training", __doc__)
    parser.add_argument("--images", type=int, default=512, help="rows of the data set, one per image")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument(
        "--held-out", type=float, default=0.05, help="share that is measured on after an epoch"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that decode; 0: the training's own")
    parser.add_argument("--device", choices=("auto", *devices.KINDS), default="auto")
    return parse(parser, {"images": 24, "batch": 4, "held_out": 0.2, "workers": 1})


def main() -> None:
    options = parse_options()
    model, rows = ensure_model(quick=options.quick), make_rows(options.images)
    found: dict[str, Any] = {what: train(model, rows, what, options) for what in TRAINED}
    columns = ["what learns", "rows", "rows/s", "rows/s with initialisation", "seconds of all"]
    table = [[what, *figures.values()] for what, figures in found.items()]
    report.table("ViT-B/32 with RoBERTa base", columns, table)
    print(f"the article: {ARTICLE}")
    report.finish("training", found, {"article": ARTICLE, "options": vars(options)})


if __name__ == "__main__":
    main()
