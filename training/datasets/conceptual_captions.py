"""Google Conceptual Captions: `googlecc.tsv` and the images it names, as far as they still exist.

    python -m training.datasets.conceptual_captions FOLDER [--workers 8] [--limit N]

downloads what FOLDER/googlecc.tsv names (caption, tab, address; with or without a header) and writes

    FOLDER/images/<SHA-1 of the address>.jpg   the bytes as they came, whatever the format
    FOLDER/processed_map.json                  {address: "success", or in a few words why not}

Killed at any time, it goes on where it was: a file is whole or absent, and an address that is in the map or
has its file is not asked for again. `--retry` asks again for those that failed.
"""

import argparse
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from babelclip.cli.console import progress_bar
from models import outputs
from training.datasets import downloads
from training.datasets.downloads import SUCCESS, present_files, read_map
from training.datasets.examples import Examples, Gathering
from training.datasets.rows import DataError, LeftOut, cells_of, checked_text

COLUMNS = ("caption", "url")  # their order where there is no header, as in the public file


def image_path(folder: Path, url: str) -> Path:
    """Where the image of an address is kept."""
    return folder / "images" / f"{_key(url)}.jpg"


def _key(url: str) -> str:
    return hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()


def read(folder: Path, *, language: str | None = "en", strict: bool = True) -> Examples:
    """The captioned images that were downloaded, keyed by the SHA-1 of their address.

    Rows whose address is not "success" in processed_map.json are passed over and counted.

    Raises:
        DataError: a file is missing or malformed, or strict and a row is malformed or its image missing.
    """
    left_out = LeftOut(strict=strict)
    processed = read_map(folder / "processed_map.json")
    gathering, present = Gathering(), present_files([folder / "images"])
    for place, caption, url in rows(folder / "googlecc.tsv", left_out):
        path = image_path(folder, url)
        if processed.get(url) != SUCCESS:
            left_out.passed_over("not downloaded")
        elif path in present:
            gathering.add(_key(url), path, caption, language)
        else:
            left_out.fault(place, "missing image", f"there is no image {path}, though it was downloaded")
    return gathering.examples(left_out)


def rows(table: Path, left_out: LeftOut) -> Iterator[tuple[str, str, str]]:
    """(place, caption, url) of every sound row of googlecc.tsv; quotation marks are ordinary characters."""
    order: tuple[str, ...] = COLUMNS
    for number, (place, cells) in enumerate(cells_of(table, left_out, separator="\t", quoted=False)):
        if number == 0 and set(cells) == set(COLUMNS):
            order = tuple(cells)
            continue
        if len(cells) != len(order):
            sentence = f"the row has {len(cells)} cells where a caption, a tab and an address are due"
            left_out.fault(place, "wrong number of cells", sentence)
            continue
        caption, wrong = checked_text(cells[order.index("caption")], "caption")
        url, wrong_url = checked_text(cells[order.index("url")], "url")
        if wrong or wrong_url:
            left_out.fault(place, "malformed row", str(wrong or wrong_url))
        else:
            yield place, caption, url


def download(
    folder: Path, *, limit: int | None = None, options: downloads.Options | None = None
) -> Counter[str]:
    """Fetch the images of the first `limit` rows (all: None) that are not there; what became of each address.

    Raises:
        DataError: googlecc.tsv or processed_map.json is missing or malformed.
    """
    left_out = LeftOut(strict=False)
    wanted = {
        url: image_path(folder, url)
        for _, _, url in itertools.islice(rows(folder / "googlecc.tsv", left_out), limit)
    }
    outcome = downloads.download(wanted, folder / "processed_map.json", options or downloads.Options())
    outcome.update(left_out.counts)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="holds googlecc.tsv; gets images/ and processed_map.json")
    downloads.add(parser, per_host=2)
    options = parser.parse_args()
    outputs.check("training.datasets.conceptual_captions", "FOLDER", options.folder)
    try:
        with progress_bar("images") as bar:
            outcome = download(
                options.folder, limit=options.limit, options=downloads.options_of(options, bar)
            )
    except DataError as error:
        parser.exit(1, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "stopped; the same command goes on from here\n")
    downloads.print_outcome(outcome)


if __name__ == "__main__":
    main()
