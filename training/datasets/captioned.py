"""Captioned images by one name of their layout, for commands that take any."""

import argparse
from pathlib import Path

from handlers.runtime.machine import usable_cores
from training.arguments import count
from training.datasets import coco, conceptual_captions, shards, tables
from training.datasets.examples import Examples
from training.datasets.rows import DataError

FORMATS = {
    "coco": "COCO's JSON of captions; --images is the folder of its images",
    "rows": "flat rows of COCO (.json, .jsonl, .csv); --images, or each row's image_path",
    "table": "open_clip's CSV or TSV, or JSONL, with the columns filepath and title",
    "webdataset": "tar shards, as in 'shards/{000..012}.tar' or 'shards/*.tar'",
    "conceptual": "a folder of Conceptual Captions",
}


def add(parser: argparse.ArgumentParser) -> None:
    """The flags that name the data."""
    flag = parser.add_argument_group("data").add_argument
    flag("--data", required=True, help="file, folder or pattern of the captioned images")
    formats = "; ".join(f"{name}: {what}" for name, what in FORMATS.items())
    flag("--format", choices=tuple(FORMATS), default="coco", help=formats)
    flag("--images", type=Path, help="the folder that file names are in")
    flag("--language", help="what the captions are in; of a table with languages, only that one")
    flag("--separator", type=separator, default="\t", help="of a table: open_clip's is the tab")
    flag("--image-column", default="filepath", help="of a table")
    captions = "of a table (default: title); of tar shards, the field of .json to take in place of .txt"
    flag("--caption-column", help=captions)
    languages = "of a table whose rows name their language; of tar shards, of .json (default: language)"
    flag("--language-column", help=languages)
    lines = "of tar shards: each line of .txt is a caption, as CLIP_benchmark has it, and not all of it one"
    flag("--caption-lines", action="store_true", help=lines)
    flag(
        "--workers",
        type=count,
        default=min(4, usable_cores()),
        help="processes that decode images, per device",
    )


def separator(text: str) -> str:
    """One character; \\t is a tab, as shells hand it over when it is typed so.

    Raises:
        ArgumentTypeError: it is more or less.
    """
    if text == "\\t":
        return "\t"
    if len(text) != 1 or text in '"\r\n':
        raise argparse.ArgumentTypeError(f"{text!r} must be one character that parts cells")
    return text


def read(options: argparse.Namespace) -> Examples:
    """The examples; malformed rows are left out and counted.

    Raises:
        DataError: files are missing or of another layout.
    """
    data, images, language = options.data, options.images, options.language
    if options.format == "coco":
        if images is None:
            raise DataError("--format coco needs --images, the folder that COCO's file names are in")
        return coco.read(Path(data), images, language=language, strict=False)
    if options.format == "rows":
        return coco.read_rows(Path(data), images, language=language, strict=False)
    if options.format == "webdataset":
        return shards.read(
            data,
            language=language,
            caption_lines=options.caption_lines,
            caption_field=options.caption_column,
            language_field=options.language_column or "language",
            strict=False,
        )
    if options.format == "conceptual":
        return conceptual_captions.read(Path(data), language=language, strict=False)
    return tables.read(
        Path(data),
        images=images,
        image_column=options.image_column,
        caption_column=options.caption_column or "title",
        separator=options.separator,
        language=language,
        language_column=options.language_column,
        strict=False,
    )
