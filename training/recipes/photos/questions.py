"""Questions in many languages to a folder of photographs: how many find a photograph that shows the thing.

    python -m training.recipes.photos.questions training/recipes/photos/checkpoint
    python -m training.recipes.photos.questions --url mar:model_store

The model is whatever `python -m export` takes, or with --url a served one or exported archives. FOLDER has
the photographs and

    questions.tsv   text, language (CLDR's code), meaning (in English), photographs (files that show it)

A question is answered right where the first of all photographs, by their cosines, is one of these. It ends
with `result: {…}`: `right`, of `questions` in `languages`, their `share`, and the share `within_3`.
"""

import argparse
import contextlib
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from babelclip import Client
from handlers.runtime.machine import usable_cores
from models import outputs
from models.files.weights import CheckpointError
from models.loaders import registry
from training.datasets.rows import DataError
from training.evaluation.embedding import Embedder, LoadedModel, Picture, ServedModel
from training.evaluation.errors import EvaluationError
from training.recipes.photos import sheet

COMMAND = "training.recipes.photos.questions"
FILE = "questions.tsv"
SAMPLES = Path(__file__).with_name("samples")
COLUMNS = ("text", "language", "meaning", "photographs")
KINDS = (".jpg", ".jpeg", ".png", ".webp")
SHOWN = 3


@dataclass(frozen=True)
class Question:
    text: str
    language: str
    meaning: str
    right: frozenset[str]
    """Names of the files that show it."""


@dataclass(frozen=True)
class Answer:
    question: Question
    files: list[str]
    """The best `SHOWN`, the best first."""

    def is_right(self, within: int = 1) -> bool:
        """Whether one of so many first photographs shows the thing."""
        return not self.question.right.isdisjoint(self.files[:within])


def read(folder: Path) -> tuple[list[Question], list[Path]]:
    """The questions, and all photographs of the folder in the order of their names.

    Raises:
        DataError: the table is missing or of another form, or names a file that is not there.
    """
    path = folder / FILE
    try:
        photographs = sorted(one for one in folder.iterdir() if one.suffix.lower() in KINDS)
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            if table.fieldnames is None or not set(COLUMNS) <= set(table.fieldnames):
                raise DataError(f"{path}: its first line must name {', '.join(COLUMNS)}")
            lines = list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    there = {one.name for one in photographs}
    questions = []
    for number, line in enumerate(lines, 2):
        right = frozenset((line["photographs"] or "").split())
        if not line["text"] or not right:
            raise DataError(f"{path}: line {number} needs a text and the photographs that show it")
        if right - there:
            raise DataError(f"{path}: line {number} names {min(right - there)}, which is not there")
        questions.append(Question(line["text"], line["language"], line["meaning"], right))
    if not questions:
        raise DataError(f"{path} has no questions")
    return questions, photographs


def ask(model: Embedder, questions: Sequence[Question], photographs: Sequence[Path]) -> list[Answer]:
    """The answers, in order.

    Raises:
        EvaluationError: names the text or the photograph that has no vector.
    """
    images = model.embed_images(Picture(str(path), path.read_bytes()) for path in photographs)
    texts = model.embed_texts([question.text for question in questions])
    best = (texts @ images.T).topk(min(SHOWN, len(photographs)), dim=1).indices.tolist()
    return [
        Answer(question, [photographs[place].name for place in row])
        for question, row in zip(questions, best, strict=True)
    ]


def row_of(answer: Answer, folder: Path) -> sheet.Row:
    """The answer as it is drawn."""
    asked = answer.question
    found = [(folder / name, name in asked.right) for name in answer.files]
    return sheet.Row(asked.meaning, f"asked in {asked.language}", found)


def result_of(answers: Sequence[Answer]) -> dict[str, float]:
    """The figures of the last line."""
    right = sum(answer.is_right() for answer in answers)
    return {
        "right": right,
        "questions": len(answers),
        "languages": len({answer.question.language for answer in answers}),
        "share": round(right / len(answers), 4),
        f"within_{SHOWN}": round(sum(answer.is_right(SHOWN) for answer in answers) / len(answers), 4),
    }


@contextlib.contextmanager
def open_model(source: str | None, url: str | None) -> Iterator[Embedder]:
    """The model of that source, or behind that address.

    Raises:
        CheckpointError, EvaluationError: it cannot be had.
    """
    if url is None:
        assert source is not None, "one of both is named"
        yield LoadedModel(registry.load(registry.locate(source)), source, torch.device("cpu"))
        return
    try:
        client = Client(url)
    except (ImportError, ValueError) as error:
        raise EvaluationError(f"--url {url}: {error}") from error
    with client:
        yield ServedModel(client, url)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog=f"python -m {COMMAND}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "checkpoint", nargs="?", help="a folder, a file of weights or hf-hub:ORGANISATION/NAME"
    )
    parser.add_argument("--url", help="a served model instead: http://, grpc:// or mar:STORE")
    parser.add_argument("--folder", type=Path, default=SAMPLES, help="photographs with questions.tsv")
    parser.add_argument("--sheet", type=Path, help="draw the answers into this PNG")
    options = parser.parse_args(arguments)
    if (options.checkpoint is None) == (options.url is None):
        parser.error("name either CHECKPOINT or --url")
    outputs.check(COMMAND, "--sheet", options.sheet)
    torch.set_num_threads(min(usable_cores(), torch.get_num_threads()))
    try:
        questions, photographs = read(options.folder)
        with open_model(options.checkpoint, options.url) as model:
            answers = ask(model, questions, photographs)
    except (CheckpointError, DataError, EvaluationError) as error:
        sys.exit(f"{COMMAND}: {error}")
    for answer in answers:
        asked = answer.question
        verdict = "right" if answer.is_right() else "wrong"
        print(f"{verdict}  {asked.language}  {asked.text} ({asked.meaning}): {', '.join(answer.files)}")
    if options.sheet:
        sheet.draw([row_of(answer, options.folder) for answer in answers], options.sheet)
    print("result: " + json.dumps(result_of(answers)))


if __name__ == "__main__":
    main()
