"""Train a small multilingual CLIP on the emoji–CLDR data set.

    python -m training.recipes.mini.train runs/mini --stage contrastive --steps 4700 --small-steps 3000
    python -m training.recipes.mini.train runs/mini --stage teacher --steps 15600

Two stages, as the public systems have them:

contrastive   Both towers learn together, images against captions (CLIP). One learned vector per concept, its
              proxy, is a third party to the loss: with few images and a million captions it carries what
              either side has learned to the other, and each tower learns several times faster for it. The
              first --small-steps see images at --small-size, which cost a quarter and teach nearly as much.
teacher       The vision tower is frozen and is the teacher: its mean embedding of a concept's drawings is
              what every caption of the concept, in every language, is drawn to (AltCLIP's first stage, with
              a softmax over all concepts in place of the squared error). Only the text tower moves, so a
              step costs no image, and it passes over the captions many more times. The teacher's vectors
              stay with the text tower as its memory, which then answers with their mean under that softmax.

A run is resumed by the same command, from its last state in RUN/contrastive/states or RUN/teacher/states;
`RUN/checkpoint` is the model as it was then. With --start the
second stage goes on from a checkpoint, such as training/recipes/mini/checkpoint, whose image tower stays as
it is.
"""

import argparse
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from handlers.runtime.machine import usable_cores
from models import checkpoint, outputs
from models.files.npm_packages import PackageError
from models.files.plain_text import plain
from models.files.weights import CheckpointError, load_strict, published_tokenizer
from models.modules import BabelCLIP, ModelConfig, TextConfig
from training import devices, loop, states
from training.arguments import count, positive
from training.devices import Device
from training.loop import RunError, Settings
from training.recipes.mini import data, tokenizer
from training.recipes.mini.dataset import TRAIN_FAMILIES, ensure
from training.recipes.mini.stages import ContrastiveStage, Corpus, MiniStage, TeacherStage
from training.run_log import RunLogger

COMMAND = "training.recipes.mini.train"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of the run: state, log and checkpoint")
    parser.add_argument("--data", type=Path, default=Path("data/emoji"), help="built when absent")
    parser.add_argument("--stage", choices=("contrastive", "teacher"), required=True)
    parser.add_argument("--steps", type=positive, required=True)
    parser.add_argument(
        "--start",
        type=Path,
        help="in the teacher stage: a checkpoint to go on from, instead of the first stage",
    )
    parser.add_argument("--small-steps", type=count, default=0, help="of them, first steps with small images")
    parser.add_argument("--small-size", type=positive, default=32, help="side of the small images, in pixels")
    parser.add_argument("--concepts", type=positive, default=128, help="concepts in a step")
    parser.add_argument(
        "--drawings", type=positive, default=2, help="drawings of each, by different families"
    )
    parser.add_argument("--hold-out", nargs="*", default=[], metavar="LOCALE", help="locales left out")
    parser.add_argument("--locales", nargs="+", help="of the captions (default: all in the data)")
    parser.add_argument(
        "--teacher-captions", type=positive, default=1024, help="captions in a step of the teacher stage"
    )
    parser.add_argument("--lr-vision", type=float, default=1.5e-3)
    parser.add_argument("--lr-text", type=float, default=6e-3)
    parser.add_argument("--warmup", type=count, default=100)
    parser.add_argument("--save-every", type=positive, default=200, help="steps between states and models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("auto", *devices.KINDS), default="auto", help="what it runs on")
    parser.add_argument("--threads", type=positive, default=usable_cores())
    return parser.parse_args()


def train(options: argparse.Namespace) -> str:
    """Train to the last step; returns the space of the checkpoint.

    Raises:
        CheckpointError, PackageError, RunError: what is wrong, in a sentence.
    """
    if options.start is not None and options.stage != "teacher":
        raise RunError("--start is for the teacher stage")
    if options.stage == "contrastive" and options.drawings < 2:
        raise RunError("--drawings must be at least 2: each looks for another of its concept")
    if (options.run / f"{options.stage}.pt").exists():
        raise RunError(
            f"{options.run / options.stage}.pt is a state of an earlier version of this command, which "
            "this one does not read: begin a new run"
        )
    try:
        device = devices.choose(options.device)
    except RuntimeError as error:
        raise RunError(f"--device {options.device}: {error}") from error
    torch.manual_seed(options.seed)
    stage = make(options, device)
    settings = Settings(
        out=folder_of(options.run, options.stage),
        epochs=math.ceil(options.steps / options.save_every),
        steps=options.steps,
        save_every=options.save_every,
        keep=1,
        resume=True,
    )
    logger = RunLogger(options.run, constants={"stage": options.stage})
    corpus = stage.corpus
    logger.info(
        f"{options.stage}: {len(corpus.captions.of_label)} concepts, {len(corpus.drawings.label)} drawings, "
        f"{len(corpus.captions.names)} names"
    )
    loop.run(stage, settings, device, logger)
    return str(checkpoint.read_meta(options.run / "checkpoint")["space"])


def folder_of(run: Path, stage: str) -> Path:
    """Where a stage keeps its states."""
    return run / stage


def make(options: argparse.Namespace, device: Device) -> MiniStage[Any]:
    """The stage with its data and its model, new or as the first stage left it.

    Raises:
        CheckpointError, PackageError, RunError: see `train`.
    """
    root = ensure(options.data)
    config = ModelConfig(text=TextConfig(memory=len(data.read_concepts(root))))
    words = read_tokenizer(options, root, config)
    corpus = read_corpus(options, root, words, config)
    trained = sum(
        bool(rows and texts)
        for rows, texts in zip(corpus.drawings_of(), corpus.captions.of_label, strict=True)
    )
    if options.stage == "contrastive" and options.concepts > trained:
        raise RunError(f"--concepts {options.concepts}, and {trained} have captions and drawings")
    model = BabelCLIP(config)
    if options.stage == "contrastive":
        return ContrastiveStage(options, device, model, words, corpus, {})
    if options.start is not None:
        before = start_from_checkpoint(model, options.start)
    else:
        before = start_from_contrastive(model, folder_of(options.run, "contrastive") / "states")
    return TeacherStage(options, device, model, words, corpus, before)


def read_tokenizer(options: argparse.Namespace, root: Path, config: ModelConfig) -> Tokenizer:
    """The run's tokenizer: that of --start, or a new one of all captions, trained when it is first needed.

    Raises:
        CheckpointError: the file is missing or broken.
    """
    path = options.run / "tokenizer.json"
    if not path.exists():
        with outputs.replacing(path) as partial:
            if options.start is not None:
                shutil.copyfile(options.start / "tokenizer.json", partial)
            else:
                texts = [
                    text
                    for locale in data.locales_of(root)
                    for row in data.read_locale(root, locale).values()
                    for text in (row["name"], " ".join(row["keywords"]))
                ]
                tokenizer.train(texts, config.text.vocab_size).save(str(partial))
    return published_tokenizer(path, config.text.vocab_size)


def read_corpus(options: argparse.Namespace, root: Path, words: Tokenizer, config: ModelConfig) -> Corpus:
    """Drawings of the training families, and captions in the locales that are asked for.

    Raises:
        RunError: the data has no such locale.
    """
    locales = data.locales_of(root)
    wanted = [one for one in options.locales or locales if one not in options.hold_out]
    unknown = sorted({*options.hold_out, *wanted} - set(locales))
    if unknown:
        raise RunError(f"the data has no locale {', '.join(unknown)}")
    captions = data.load_captions(root, plain(words), wanted)
    drawings = data.load_drawings(root, TRAIN_FAMILIES, config.vision.size)
    return Corpus(drawings, captions, sorted(set(locales) - set(wanted)))


def start_from_checkpoint(model: BabelCLIP, folder: Path) -> dict[str, Any]:
    """Give the model a checkpoint's weights, but not its memory; what meta.json says of the earlier stage.

    Raises:
        CheckpointError: it cannot be read.
        RunError: it has another architecture.
    """
    begun, due = checkpoint.load(folder), model.architecture
    found = begun.architecture
    if found is None or replace(found, text=replace(found.text, memory=due.text.memory)) != due:
        raise RunError(f"{folder} has another architecture than this command trains")
    empty = {"memory.vectors": torch.zeros(due.text.memory, due.dim)}
    model.text.load_state_dict({**begun.model.text.state_dict(), **empty})
    model.vision.load_state_dict(begun.model.vision.state_dict())
    model.set_scale(begun.model.scale())
    return {"start": {"space": begun.meta["space"], **begun.meta["training"]}}


def start_from_contrastive(model: BabelCLIP, folder: Path) -> dict[str, Any]:
    """Give the model the weights of the first stage's last state; what meta.json says of that stage.

    Raises:
        CheckpointError: the state cannot be read.
        RunError: there is none.
    """
    path = states.latest(folder)
    if path is None:
        raise RunError(f"the teacher stage starts from a state in {folder}, and there is none")
    weights, position = states.read_weights(path)
    for name in ("text", "vision"):
        prefix = f"{name}."
        part = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        load_strict(model.tower(name), part, path)
    model.set_scale(float(weights["scale.log_scale"].exp()))
    sampler = position.sampler
    return {
        "contrastive": {
            "steps": position.step,
            "seconds": round(sampler["seconds"]),
            "held_out_locales": sampler["held_out_locales"],
        }
    }


def main() -> None:
    options = parse()
    outputs.check(COMMAND, "RUN", options.run)
    torch.set_num_threads(options.threads)
    try:
        options.run.mkdir(parents=True, exist_ok=True)
        space = train(options)
    except (CheckpointError, PackageError, RunError, OSError) as error:
        sys.exit(f"{COMMAND}: {error}")
    print(f"{options.run / 'checkpoint'}: space {space}")


if __name__ == "__main__":
    main()
