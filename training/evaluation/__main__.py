"""Evaluate a model: retrieval or zero-shot classification, in any number of languages; or by a linear probe.

    python -m training.evaluation training/recipes/mini/checkpoint \
        --dataset FOLDER --task zeroshot_retrieval --language en de ja --output results.json
    python -m training.evaluation --url http://127.0.0.1:8080 --dataset FOLDER --task zeroshot_retrieval
    python -m training.evaluation --url mar:model_store --dataset FOLDER --task zeroshot_classification \
        --baseline results.json --max-drop 0.01
    python -m training.evaluation --url mar:model_store --dataset FOLDER --task linear_probe

SOURCE is what `python -m export` takes: a checkpoint, or a public model's files or name. With --url the model
is a served one, or exported archives. The data set's layouts: training.evaluation.datasets (shards),
training.evaluation.caption_files (XTD10, Crossmodal-3600) and training.evaluation.labelled_images (a folder
for each class). Results: training.evaluation.results.

With --baseline it ends with 1 when a metric is lower than in an earlier result by more than --max-drop.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from babelclip import Client
from handlers.runtime.machine import usable_cores
from models import outputs
from models.files.weights import CheckpointError
from models.loaders import registry
from training.evaluation import results, tasks
from training.evaluation.caption_files import RetrievalData, open_retrieval
from training.evaluation.datasets import WebDataset
from training.evaluation.embedding import Embedder, LoadedModel, ServedModel
from training.evaluation.errors import EvaluationError
from training.evaluation.labelled_images import open_labelled
from training.evaluation.results import Result


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", nargs="?", help="a folder, a file of weights or hf-hub:ORGANISATION/NAME")
    parser.add_argument("--architecture", help="open_clip's name for a file of weights without a config")
    parser.add_argument("--url", help="a served model instead: http://, grpc:// or mar:STORE")
    parser.add_argument("--dataset", type=Path, required=True, help="its folder")
    parser.add_argument("--split", default="test", help="of shards or labelled folders (default: test)")
    every_task = (tasks.RETRIEVAL, tasks.CLASSIFICATION, tasks.LINEAR_PROBE)
    parser.add_argument("--task", choices=every_task, required=True)
    parser.add_argument("--language", nargs="+", help="codes (default: all that the data set has)")
    parser.add_argument("--own-language", default="en", help="of shards' names and captions that state none")
    parser.add_argument(
        "--first-caption", action="store_true", help="of captions.jsonl, as CLIP_benchmark does"
    )
    probe = parser.add_argument_group("linear probe").add_argument
    probe("--train-split", default="train", help="what it learns from (default: train)")
    probe("--val-split", help="on which the regularisation is chosen (default: a part of --train-split)")
    probe("--val-proportion", type=float, default=0.2, help="of --train-split, for that (default: 0.2)")
    probe("--seed", type=int, default=0, help="of the choice of that part (default: 0)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--output", type=Path, help="a JSON file; of several languages NAME_LANGUAGE.json each"
    )
    parser.add_argument("--baseline", type=Path, help="an earlier --output, or a folder of results")
    parser.add_argument(
        "--max-drop", type=float, default=0.0, help="how much lower a metric may be (default: 0)"
    )
    options = parser.parse_args(arguments)
    if (options.source is None) == (options.url is None):
        parser.error("name either SOURCE or --url")
    if not 0 < options.val_proportion < 1:
        parser.error("--val-proportion must be between 0 and 1")
    if options.task == tasks.LINEAR_PROBE and options.language:
        parser.error("a linear probe knows no language: leave --language out")
    return options


@contextlib.contextmanager
def open_model(options: argparse.Namespace) -> Iterator[Embedder]:
    """The model that was asked for.

    Raises:
        CheckpointError, EvaluationError: it cannot be had.
    """
    if options.url is None:
        loaded = registry.load(registry.locate(options.source), options.architecture)
        yield LoadedModel(loaded, options.source, torch.device(options.device))
        return
    try:
        client = Client(options.url)
    except (ImportError, ValueError) as error:
        raise EvaluationError(f"--url {options.url}: {error}") from error
    with client:
        yield ServedModel(client, options.url)


def show(found: list[Result]) -> None:
    """A row per language, the metrics in percent with half the width of their intervals."""
    first = found[0]
    names = list(first.metrics)
    title = f"{first.dataset}, {first.task}: {first.model} ({first.pretrained})"
    table = Table("language", title=title, title_justify="left")
    for name in names:
        table.add_column(name.replace("_retrieval_recall@", " R@"), justify="right")
    for result in found:
        table.add_row(result.language, *(cell(result, name) for name in names))
    if len(found) > 1:
        table.add_section()
        table.add_row("mean", *(f"{100 * mean(found, name):.1f}" for name in names))
    Console(width=120).print(table)


def cell(result: Result, name: str) -> str:
    value = f"{100 * result.metrics[name]:.1f}"
    if name not in result.intervals:
        return value
    low, high = result.intervals[name]
    return f"{value} ± {50 * (high - low):.1f}"


def mean(found: list[Result], name: str) -> float:
    return sum(result.metrics[name] for result in found) / len(found)


def evaluate(options: argparse.Namespace) -> list[Result]:
    """The results, one per language, in the order that was asked for.

    Raises:
        CheckpointError, EvaluationError: a sentence that names what is wrong.
    """
    if options.task == tasks.RETRIEVAL:
        images = open_retrieval(
            options.dataset,
            split=options.split,
            own_language=options.own_language,
            first_only=options.first_caption,
        )
        languages = languages_of(options, images)
        with open_model(options) as model:
            return list(tasks.retrieval(model, images, languages))
    if options.task == tasks.LINEAR_PROBE:
        return [probe(options)]
    classes = WebDataset(options.dataset, options.split, options.own_language)
    languages = languages_of(options, classes)
    with open_model(options) as model:
        return list(tasks.classification(model, classes, languages))


def probe(options: argparse.Namespace) -> Result:
    """The result of a linear probe.

    Raises:
        CheckpointError, EvaluationError: a sentence that names what is wrong.
    """
    train, test = (
        open_labelled(options.dataset, split, options.own_language)
        for split in (options.train_split, options.split)
    )
    val = options.val_split and open_labelled(options.dataset, options.val_split, options.own_language)
    with open_model(options) as model:
        return tasks.linear_probe(
            model,
            train,
            test,
            val or None,
            val_proportion=options.val_proportion,
            own_language=options.own_language,
            seed=options.seed,
        )


def languages_of(options: argparse.Namespace, data: RetrievalData) -> list[str]:
    """What was asked for, else all there are.

    Raises:
        EvaluationError: there are none.
    """
    found: list[str] = options.language or data.languages(options.task)
    if not found:
        raise EvaluationError(f"{options.dataset} has neither captions nor names of classes")
    return found


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    outputs.check("training.evaluation", "--output", options.output)
    # Those of the container, which torch does not look at, or fewer, where OMP_NUM_THREADS says so.
    torch.set_num_threads(min(usable_cores(), torch.get_num_threads()))
    failures: list[str] = []
    try:
        # A baseline that cannot be read must not be found out after the work.
        earlier = results.read_earlier(options.baseline) if options.baseline else None
        with Console(stderr=True).status(f"{options.dataset}"):
            found = evaluate(options)
        show(found)
        if options.output:
            results.write(options.output, found)
        if earlier is not None:
            failures = results.drops(found, earlier, options.max_drop)
    except (EvaluationError, CheckpointError) as error:
        sys.exit(f"training.evaluation: {error}")
    last = {
        "dataset": found[0].dataset,
        "task": found[0].task,
        "space": found[0].space,
        "languages": len(found),
        "mean": {name: round(mean(found, name), 4) for name in found[0].metrics},
        "passed": not failures,
    }
    print("result: " + json.dumps(last, ensure_ascii=False))
    if failures:
        sys.exit("training.evaluation: " + "\n".join(failures))


if __name__ == "__main__":
    main()
