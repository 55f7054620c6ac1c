"""Tables of image files and captions: CSV, TSV and JSONL, as open_clip's `--train-data` takes them.

open_clip separates by tabs and names the columns `filepath` and `title`, whatever the file is called; so does
this reader unless told otherwise. Rows of one file become one example with several captions.
"""

import os
from pathlib import Path

from training.datasets.examples import Examples, Gathering
from training.datasets.rows import LeftOut, rows_of, text_in


def read(
    table: Path,
    *,
    images: Path | None = None,
    image_column: str = "filepath",
    caption_column: str = "title",
    separator: str = "\t",
    language: str | None = None,
    language_column: str | None = None,
    strict: bool = True,
) -> Examples:
    """The captioned images of a table, keyed by the file's path as the table writes it.

    Paths that are not absolute are relative to `images`, or else to the table's folder. Cells may be quoted
    as pandas does it. With a `language_column` every row names its language; given `language` too, the rows
    of other languages are passed over and counted. `separator` does not matter to .json and .jsonl.

    Raises:
        DataError: a column is missing, or strict and a row is malformed or its image missing.
    """
    left_out = LeftOut(strict=strict)
    columns = (image_column, caption_column, *((language_column,) if language_column else ()))
    folder = images or table.parent
    gathering, present = Gathering(), {}
    for place, row in rows_of(table, left_out, needed=columns, separator=separator, quoted=True):
        cells = [text_in(row, column) for column in columns]
        wrong = next((wrong for _, wrong in cells if wrong), None)
        if wrong:
            left_out.fault(place, "malformed row", wrong)
            continue
        file, caption = cells[0][0], cells[1][0]
        spoken = cells[2][0] if language_column else language
        if language and spoken != language:
            left_out.passed_over(f"not in the language {language}")
            continue
        if file not in present:
            present[file] = os.path.isfile(folder / file)
        if present[file]:
            gathering.add(file, folder / file, caption, spoken)
        else:
            left_out.fault(place, "missing image", f"there is no image {folder / file}")
    return gathering.examples(left_out)
