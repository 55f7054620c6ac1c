"""`babelclip classify`: the images of a folder or of an index, each with the label that fits, as CSV.

babelclip classify photographs cat dog horse --calibration calibration.json > labels.csv
babelclip classify photographs --labels labels.txt --truth folders --output labels.csv
babelclip classify photographs --head flowers.safetensors
"""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Annotated, TextIO

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from babelclip.cli.console import INCOMPLETE, cell, note, plain_errors, print_json, progress_bar
from babelclip.cli.option_groups import with_option_groups
from babelclip.cli.options import AsJson, FolderOptions, ServerOptions
from babelclip.cli.search import CalibrationFile, calibration_of
from babelclip.client.sync import Client
from babelclip.embeddings import Embeddings
from babelclip.index import is_index, open_index
from babelclip.item_errors import ItemError
from babelclip.search.classify import THRESHOLD, Classification, Classifier
from babelclip.search.confusion import Confusion, confusion
from babelclip.search.folder_search import STEP, embed_files
from babelclip.search.head import ClassifierHead, read_head
from babelclip.search.relevance import SearchCalibration, read_search_calibration

COLUMNS = ("path", "label", "probability", "match", "best", "error")
FOLDERS = "folders"
_FORMULAS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four are full-width ones


@dataclass(frozen=True)
class LabelOptions:
    """The labels, and how they are put to the model."""

    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Labels, one on a line, beside those that are named.")
    ] = None
    language: Annotated[
        str | None,
        typer.Option(help="Put the labels into the built-in sentences of this language: en, de, …"),
    ] = None
    head: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A head that was trained on labelled images, with labels of its own."
        ),
    ] = None
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="The least probability of a match, with a calibration.")
    ] = THRESHOLD

    def all(self, named: Iterable[str]) -> list[str]:
        """The labels that were named, then those of the file."""
        lines = self.labels.read_text("utf-8-sig").splitlines() if self.labels else []
        return [*named, *(line.strip() for line in lines if line.strip())]


@with_option_groups
def classify(
    *,
    where: Annotated[
        str, typer.Argument(metavar="WHERE", help="A folder, with all folders below it, or an index.")
    ],
    named: Annotated[
        list[str] | None, typer.Argument(metavar="LABEL...", help="Labels, in any language.")
    ] = None,
    options: LabelOptions,
    calibration: CalibrationFile = None,
    truth: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.csv|folders",
            help="What the images are: a CSV with the columns path and label, or the names of their folders.",
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the CSV here.")] = None,
    filters: FolderOptions,
    as_json: AsJson = False,
    server: ServerOptions,
) -> None:
    """Give each image the label that fits it best, or none: path, label, probability, match, best, error.

    `label` is empty where none fits, which takes a calibration to tell; `best` is there nevertheless. With
    --truth a table says how often which label was given to what. Exit code 1 where images have no vector.
    """
    failed, pairs = 0, []
    with plain_errors(), server.client() as client, ExitStack() as stack:
        labels = options.all(named or ())
        head = _head(options, labels, calibration)
        if head is not None:
            labels = list(head.labels)
        if not labels:
            raise ValueError("give labels, --labels with a file of them, or --head")
        known = _Truth(where, truth) if truth is not None else None
        items = _classified(where, client, head or labels, options, calibration, filters)
        # Labels that are refused are so before the first image: then no file is begun.
        items = itertools.chain(list(itertools.islice(items, 1)), items)
        if as_json:
            listed = []
        else:
            stream = stack.enter_context(_opened(output)) if output else sys.stdout
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(COLUMNS)
        for path, answer in items:
            failed += answer.error is not None
            true = known.of(path) if known else None
            if true is not None and answer.error is None:
                pairs.append((true, answer.label))
            if as_json:
                listed.append(_as_json(path, answer))
            else:
                table.writerow(_cells(path, answer))
        result = confusion(labels, pairs) if known else None
        if known and not pairs:
            raise ValueError(f"none of the images has a label in {truth}")
    if as_json:
        print_json({"items": listed, "confusion": _confusion_json(result) if result else None})
    elif result is not None:
        Console(stderr=output is None, width=None if sys.stdout.isatty() else 1000).print(_table(result))
    if failed:
        note(f"{failed} images have no vector; the column error says why")
        raise typer.Exit(INCOMPLETE)


def _head(options: LabelOptions, labels: list[str], calibration: Path | None) -> ClassifierHead | None:
    """The head that is asked for.

    Raises:
        ValueError: it is none, or there is beside it what it brings itself.
        OSError: it cannot be read.
    """
    if options.head is None:
        return None
    if labels or options.language is not None or calibration is not None:
        raise ValueError("--head has labels and a calibration of its own: give neither, and no --language")
    return read_head(options.head)


def _classified(
    where: str,
    client: Client,
    labels: list[str] | ClassifierHead,
    options: LabelOptions,
    calibration: Path | None,
    filters: FolderOptions,
) -> Iterator[tuple[str, Classification]]:
    """The path of each image, and what it is; embedded as they are asked for."""

    def classifier(
        found: SearchCalibration | None,
    ) -> Callable[[Embeddings], list[Classification]]:
        if isinstance(labels, ClassifierHead):
            if labels.calibration is None:
                note("the head has no calibration, so every image has a label")
            return partial(labels.classify, threshold=options.threshold)
        if found is None or found.text is None:
            note("without a calibration of texts every image has a label: see `babelclip calibrate`")
        return Classifier(
            client,
            labels,
            language=options.language,
            calibration=found.text if found else None,
            threshold=options.threshold,
        ).classify

    if is_index(where):
        with open_index(where) as index:
            settings = index.settings
            client.pin(settings.space, settings.version)
            by_label = classifier(calibration_of(where, calibration, settings.space))
            for rows in index.scan(columns=("source", "vector", "begin", "error_code", "error_message")):
                vectors = np.zeros((len(rows), settings.dim), dtype=np.float32)
                errors = []
                for n, row in enumerate(rows):
                    if row.vector is None:
                        errors.append(ItemError(n, row.error_code, row.error_message))
                    else:
                        vectors[n] = row.vector
                found = Embeddings(vectors, settings.space, settings.logit_scale, tuple(errors))
                names = [row.source if row.begin is None else f"{row.source}@{row.begin:.3f}" for row in rows]
                yield from zip(names, by_label(found), strict=True)
        return
    chosen = filters.find(Path(where))
    if not chosen.images:
        raise ValueError(f"there are no images in {where}")
    for skip in chosen.skipped:
        note(f"skipped {skip.path}: {skip.code}: {skip.message}")
    by_label = classifier(read_search_calibration(calibration) if calibration else None)
    with progress_bar("classifying", len(chosen.images)) as bar:
        for start in range(0, len(chosen.images), STEP):
            files = chosen.images[start : start + STEP]
            embeddings, _ = embed_files(client, files)
            yield from zip((str(file) for file in files), by_label(embeddings), strict=True)
            bar.advance(bar.task_ids[0], len(files))


class _Truth:
    """What images are known to be."""

    def __init__(self, where: str, source: str) -> None:
        self._where = PurePath(where)
        self._labels = None if source == FOLDERS else _read_truth(Path(source))

    def of(self, path: str) -> str | None:
        """The true label of an image; None where it is not known, empty where it has none of the labels."""
        below = PurePath(path)
        if below.is_relative_to(self._where):
            below = below.relative_to(self._where)
        if self._labels is None:
            return below.parent.name or None
        return self._labels.get(path, self._labels.get(str(below)))


def _read_truth(file: Path) -> dict[str, str]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        if not {"path", "label"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{file} must begin with a line that names the columns path and label")
        return {row["path"]: (row["label"] or "").strip() for row in rows}


def _opened(path: Path) -> TextIO:
    # A name that is no UTF-8 is written with escapes rather than not at all.
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")


def spreadsheet_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: after an apostrophe where it begins like one."""
    return f"'{text}" if text.startswith(_FORMULAS) else text


def _cells(path: str, answer: Classification) -> list[str]:
    error = "" if answer.error is None else f"{answer.error.code}: {answer.error.message}"
    return [
        spreadsheet_cell(path),
        spreadsheet_cell(answer.label or ""),
        "" if answer.error else f"{answer.probability:.4f}",
        "" if answer.match is None else f"{answer.match:.4f}",
        spreadsheet_cell(answer.best or ""),
        spreadsheet_cell(error),
    ]


def _as_json(path: str, answer: Classification) -> dict[str, object]:
    error = None if answer.error is None else {"code": answer.error.code, "message": answer.error.message}
    return {
        "path": path,
        "label": answer.label,
        "probability": answer.probability,
        "match": answer.match,
        "best": answer.best,
        "error": error,
    }


def _confusion_json(found: Confusion) -> dict[str, object]:
    return {
        "labels": [*found.labels, None],
        "counts": found.counts.tolist(),
        "precision": {label: found.precision(label) for label in found.labels},
        "recall": {label: found.recall(label) for label in found.labels},
        "accuracy": found.accuracy,
    }


def _table(found: Confusion) -> Table:
    """A row for each true label; shares as percentages."""
    table = Table(title=f"accuracy {_percent(found.accuracy)}", title_justify="left")
    for name in ("is", *found.labels, "no match", "precision", "recall"):
        table.add_column(cell(name))
    for label, row in zip(found.labels, found.counts, strict=False):
        shares = (_percent(found.precision(label)), _percent(found.recall(label)))
        table.add_row(cell(label), *(str(count) for count in row), *shares)
    table.add_row("none of them", *(str(count) for count in found.counts[-1]), "", "")
    return table


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
