"""Open images with captions in COCO's layout, for the heads of `python -m training`.

    python -m training.recipes.photos.captions emoji data/emoji datasets/emoji
    python -m training.recipes.photos.captions photographs FOLDER datasets/photographs

emoji         every drawing of the training families, with the emoji's names in all locales as its captions
photographs   a folder with captions.json, see `training.recipes.photos.photographs`

The new folder has annotations/captions_train2014.json and links to the images in train2014/.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from models import outputs
from models.files.npm_packages import PackageError
from training.datasets.rows import DataError
from training.recipes.mini import data
from training.recipes.mini.dataset import TRAIN_FAMILIES, code_points, ensure
from training.recipes.photos import photographs

COMMAND = "training.recipes.photos.captions"

Captioned = tuple[Path, list[str]]


def of_emoji(root: Path, locales: Sequence[str] = ()) -> list[Captioned]:
    """The drawings of the emoji data set with their names in these locales; in all when none is given.

    Raises:
        DataError: the data has no such locale.
    """
    unknown = sorted(set(locales) - set(data.locales_of(root)))
    if unknown:
        raise DataError(f"the data has no locale {', '.join(unknown)}")
    captions = [data.read_locale(root, locale) for locale in locales or data.locales_of(root)]
    found = []
    for emoji in data.read_concepts(root):
        names = list(dict.fromkeys(str(rows[emoji]["name"]) for rows in captions if emoji in rows))
        paths = [root / "drawings" / family / f"{code_points(emoji)}.png" for family in TRAIN_FAMILIES]
        found += [(path, names) for path in paths if names and path.exists()]
    return found


def of_photographs(folder: Path) -> list[Captioned]:
    """The photographs with their captions.

    Raises:
        DataError: the folder is not of its form.
    """
    return [(one.path, list(one.captions)) for one in photographs.read_captioned(folder)]


def write(rows: Iterable[Captioned], folder: Path) -> int:
    """Write the layout in place of what was at `folder`, whole or not at all; returns how many images."""
    images, annotations = [], []
    with outputs.replacing(folder) as partial:
        (partial / "train2014").mkdir(parents=True)
        (partial / "annotations").mkdir()
        for number, (path, captions) in enumerate(rows):
            name = f"{number:06}{path.suffix}"
            os.symlink(path.resolve(), partial / "train2014" / name)
            images.append({"id": number, "file_name": name})
            annotations += [{"image_id": number, "caption": caption} for caption in captions]
        document = json.dumps({"images": images, "annotations": annotations}, ensure_ascii=False)
        (partial / "annotations" / "captions_train2014.json").write_text(document, encoding="utf-8")
    return len(images)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog=f"python -m {COMMAND}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=("emoji", "photographs"))
    parser.add_argument("source", type=Path, help="the emoji data set, built when absent; or the photographs")
    parser.add_argument("folder", type=Path, help="the new folder")
    parser.add_argument("--locales", nargs="*", default=[], help="of the emoji's names (default: all)")
    options = parser.parse_args(arguments)
    outputs.check(COMMAND, "FOLDER", options.folder)
    try:
        if options.kind == "emoji":
            rows = of_emoji(ensure(options.source), options.locales)
        else:
            rows = of_photographs(options.source)
        count = write(rows, options.folder)
    except (DataError, PackageError) as error:
        sys.exit(f"{COMMAND}: {error}")
    print(f"{options.folder}: {count:,} images")


if __name__ == "__main__":
    main()
