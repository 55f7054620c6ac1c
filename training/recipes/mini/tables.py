"""The emoji data set as tables that the general training commands read.

    python -m training.recipes.mini.tables data/emoji runs/tables --hold-out fi sw th

writes

    runs/tables/parallel.tsv      source_text, target_text, language: each English name and its translations,
                                  for `training.stages.distillation`
    runs/tables/captions.jsonl    filepath, title, language: each drawing of the training families under its
                                  names, for `training.stages.contrastive --format table`

Locales that are held out have their translations in the first and no row in the second: what is known of
them in images comes through the teacher alone.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from models import outputs
from models.files.npm_packages import PackageError
from training.datasets.rows import DataError
from training.recipes.mini import data
from training.recipes.mini.dataset import TRAIN_FAMILIES, code_points, ensure


def write(root: Path, folder: Path, hold_out: Sequence[str]) -> dict[str, int]:
    """Both tables; returns how many rows each has.

    Raises:
        DataError: a locale is not in the data.
    """
    locales = data.locales_of(root)
    unknown = sorted(set(hold_out) - set(locales))
    if unknown:
        raise DataError(f"the data has no locale {', '.join(unknown)}")
    folder.mkdir(parents=True, exist_ok=True)
    names = {
        locale: {emoji: str(row["name"]) for emoji, row in data.read_locale(root, locale).items()}
        for locale in locales
    }
    rows = {"parallel": 0, "captions": 0}
    with (folder / "parallel.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
        table.writerow(("source_text", "target_text", "language"))
        for locale in locales:
            for emoji, name in names[locale].items():
                table.writerow((names["en"][emoji], name, locale))
                rows["parallel"] += 1
    with (folder / "captions.jsonl").open("w", encoding="utf-8") as file:
        for emoji in data.read_concepts(root):
            for family in TRAIN_FAMILIES:
                path = root / "drawings" / family / f"{code_points(emoji)}.png"
                if not path.exists():
                    continue
                place = os.path.relpath(path.resolve(), folder.resolve())  # as the table's reader takes it
                for locale in locales:
                    if locale not in hold_out and emoji in names[locale]:
                        row = {"filepath": place, "title": names[locale][emoji]}
                        file.write(json.dumps(row | {"language": locale}, ensure_ascii=False) + "\n")
                        rows["captions"] += 1
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.recipes.mini.tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, help="the data set; built when absent")
    parser.add_argument("folder", type=Path, help="for the tables")
    parser.add_argument("--hold-out", nargs="*", default=[], metavar="LOCALE", help="without image captions")
    options = parser.parse_args(arguments)
    outputs.check("training.recipes.mini.tables", "FOLDER", options.folder)
    try:
        rows = write(ensure(options.data), options.folder, options.hold_out)
    except (DataError, PackageError) as error:
        sys.exit(f"training.recipes.mini.tables: {error}")
    for name, count in rows.items():
        print(f"{options.folder}: {count:,} rows of {name}")


if __name__ == "__main__":
    main()
