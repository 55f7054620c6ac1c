"""COCO captions: `annotations/captions_*.json` beside a folder of images, or the same captions as flat rows.

The JSON is COCO's own, {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}, which
translations like STAIR Captions keep. Flat rows (`image_id, caption_id, caption, height, width, file_name,
coco_url, image_path, id`, as .json, .jsonl or .csv) have one caption each.

    python -m training.datasets.coco fetch FOLDER

fetches both, see `training.datasets.coco_fetch`.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from training.datasets.examples import Examples, Gathering, files_below
from training.datasets.rows import DataError, LeftOut, json_document, rows_of, text_in


def read(annotations: Path, images: Path, *, language: str | None = None, strict: bool = True) -> Examples:
    """The captioned images of COCO's JSON, keyed by COCO's image id.

    `images` is the folder that the file names are in, `language` what all captions are in. Images without a
    caption are counted.

    Raises:
        DataError: the files are not COCO's, or strict and an annotation is malformed or its image missing.
    """
    left_out = LeftOut(strict=strict)
    found = json_document(annotations)
    if not isinstance(found, dict) or not all(
        isinstance(found.get(part), list) for part in ("images", "annotations")
    ):
        raise DataError(f'{annotations} must be an object with arrays "images" and "annotations"')

    names: dict[str, Any] = {}
    for number, row in enumerate(found["images"]):
        place = f"{annotations}: images[{number}]"
        if not isinstance(row, dict) or not _is_id(row.get("id")):
            left_out.fault(place, "image without an id", "an image must be an object with an id")
        elif names.setdefault(str(row["id"]), row.get("file_name")) != row.get("file_name"):
            sentence = f"the id {row['id']} stood for another file before"
            left_out.fault(place, "repeated image id", sentence)

    def captions() -> Iterator[tuple[str, dict[str, Any]]]:
        for number, row in enumerate(found["annotations"]):
            place = f"{annotations}: annotations[{number}]"
            if not isinstance(row, dict) or not _is_id(row.get("image_id")):
                left_out.fault(place, "annotation without an image", "it must be an object with an image_id")
            elif str(row["image_id"]) not in names:
                sentence = f'no image of "images" has the id {row["image_id"]}'
                left_out.fault(place, "annotation without an image", sentence)
            else:
                yield place, {**row, "file_name": names[str(row["image_id"])]}

    return _gathered(captions(), images, language, left_out, set(names))


def read_rows(
    path: Path, images: Path | None = None, *, language: str | None = None, strict: bool = True
) -> Examples:
    """The captioned images of flat rows, keyed by `image_id`.

    The images are `file_name` in the folder `images`; without a folder, each row's `image_path`.

    Raises:
        DataError: a column is missing, or strict and a row is malformed or its image missing.
    """
    left_out = LeftOut(strict=strict)
    needed = ("image_id", "caption", "file_name" if images else "image_path")
    rows = rows_of(path, left_out, needed=needed, quoted=True)
    return _gathered(rows, images, language, left_out, set())


def _gathered(
    rows: Iterator[tuple[str, dict[str, Any]]],
    images: Path | None,
    language: str | None,
    left_out: LeftOut,
    all_ids: set[str],
) -> Examples:
    """Rows with image_id, caption, and file_name (below `images`) or image_path, by image."""
    present = files_below(images) if images else set()
    gathering, uncaptioned = Gathering(), set(all_ids)
    for place, row in rows:
        if not _is_id(row.get("image_id")):
            left_out.fault(place, "row without an image", "image_id must be a whole number or text")
            continue
        caption, wrong = text_in(row, "caption")
        file, wrong_file = text_in(row, "file_name" if images else "image_path")
        if wrong or wrong_file:
            left_out.fault(place, "malformed row", str(wrong or wrong_file))
        elif images and not _is_inside(file):
            sentence = f"file_name {file!r} must stay within the folder of images"
            left_out.fault(place, "malformed row", sentence)
        elif (file not in present) if images else not os.path.isfile(file):
            left_out.fault(place, "missing image", f"there is no image {images / file if images else file}")
        elif gathering.add(str(row["image_id"]), images / file if images else Path(file), caption, language):
            uncaptioned.discard(str(row["image_id"]))
        else:
            sentence = f"image_id {row['image_id']} stood for another file before"
            left_out.fault(place, "repeated image id", sentence)
    for _ in uncaptioned:
        left_out.passed_over("no usable caption")
    return gathering.examples(left_out)


def _is_id(value: Any) -> bool:
    return value != "" and isinstance(value, int | str) and not isinstance(value, bool)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


if __name__ == "__main__":
    from training.datasets.coco_fetch import main

    main()
