"""Fetch photos of Unsplash's public Lite list, as `training.datasets.unsplash` reads them.

    python -m training.datasets.unsplash fetch datasets/unsplash --limit 1000

writes

    FOLDER/unsplash-lite.zip     the list as published, unless FOLDER holds photos.tsv000 already
    FOLDER/photos.tsv000         out of it; newer lists call it photos.csv000
    FOLDER/images/ID.jpg         at most --width pixels wide
    FOLDER/images/ID.json        what the list says of it, in the form of Unsplash's API: urls, user, links
    FOLDER/fetched.json          {address: "success", or in a few words why not}

Killed at any time, the same command goes on where it was. The list grows from time to time: what was fetched
stays what it is until photos.* and the ZIP file are removed. Unsplash's terms for the Lite list are in the
ZIP file; a search that shows a photo names its photographer, who is in the JSON.
"""

import argparse
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from babelclip.cli.console import progress_bar
from models import outputs
from training.arguments import positive
from training.datasets import downloads
from training.datasets.coco_fetch import extract
from training.datasets.fetching import client
from training.datasets.large_files import fetch_file, patient
from training.datasets.rows import DataError, LeftOut, lines_of, table_rows

LIST_URL = "https://unsplash.com/data/lite/latest"
ARCHIVE = "unsplash-lite.zip"
TABLE = re.compile(r"photos\.(?:tsv|csv)[0-9]*")
NEEDED = ("photo_id", "photo_image_url")
PHOTO_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
WIDTH = 400  # pixels, of what Unsplash calls small


def fetch(
    folder: Path,
    *,
    limit: int | None = None,
    width: int = WIDTH,
    list_url: str = LIST_URL,
    options: downloads.Options | None = None,
) -> Counter[str]:
    """The list, and the first `limit` photos of it (all: None); what became of each, and rows left out.

    Raises:
        DataError: the list cannot be had, or has another form.
    """
    options = options or downloads.Options()
    table = find_table(folder)
    if table is None:
        limits = patient(options.limits)
        with client(options.user_agent, limits) as web:
            fetch_file(web, list_url, folder / ARCHIVE, limits, progress=options.progress)
        table = extract_table(folder)
    left_out = LeftOut(strict=False)
    wanted: dict[str, Path] = {}
    (folder / "images").mkdir(exist_ok=True)
    for row in photos(table, left_out):
        if limit is not None and len(wanted) >= limit:
            break
        image = folder / "images" / f"{row['photo_id']}.jpg"
        wanted[sized(row["photo_image_url"], width)] = image
        downloads.write(image.with_suffix(".json"), json.dumps(about(row), ensure_ascii=False).encode())
    outcome = downloads.download(wanted, folder / "fetched.json", options)
    outcome.update(left_out.counts)
    return outcome


def find_table(folder: Path) -> Path | None:
    """The list of photos in a folder."""
    if not folder.is_dir():
        return None
    found = sorted(path for path in folder.iterdir() if TABLE.fullmatch(path.name))
    return found[0] if found else None


def extract_table(folder: Path) -> Path:
    """The list out of the archive in the folder.

    Raises:
        DataError: the archive is none, or has no list.
    """
    archive = folder / ARCHIVE
    try:
        with zipfile.ZipFile(archive) as opened:
            names = [name for name in opened.namelist() if TABLE.fullmatch(name.rpartition("/")[2])]
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive} is no sound ZIP file: {error}; remove it to fetch it again") from error
    if not names:
        raise DataError(f"{archive} has no photos.tsv000")
    table = folder / names[0].rpartition("/")[2]
    extract(archive, names[0], table)
    return table


def photos(table: Path, left_out: LeftOut) -> Iterator[dict[str, Any]]:
    """The rows with a sound id and address; the columns are parted by tabs, or by commas.

    Raises:
        DataError: the table cannot be read, or lacks a column.
    """
    _, header = next(lines_of(table, left_out), (0, ""))
    separator = "\t" if "\t" in header else ","
    for place, row in table_rows(
        table, left_out, needed=NEEDED, separator=separator, quoted=separator == ","
    ):
        if not PHOTO_ID.fullmatch(row["photo_id"]):
            left_out.fault(place, "malformed id", f"{row['photo_id'][:40]!r} is no id of Unsplash")
        elif not row["photo_image_url"].startswith(("http://", "https://")):
            left_out.fault(place, "malformed address", f"{row['photo_image_url'][:80]!r} is no address")
        else:
            yield row


def sized(url: str, width: int) -> str:
    """The address of an image of at most that width, as Unsplash's image service makes it."""
    asked = f"w={width}&q=80&fm=jpg&fit=max"
    try:
        return f"{url}&{asked}" if urlsplit(url).query else f"{url}?{asked}"
    except ValueError:  # It is refused when it is fetched.
        return url


def about(row: dict[str, Any]) -> dict[str, Any]:
    """A row → what Unsplash's API says of a photo, as far as the list does."""
    image = row["photo_image_url"]
    names = (row.get("photographer_first_name", ""), row.get("photographer_last_name", ""))
    return {
        "id": row["photo_id"],
        "description": row.get("photo_description") or None,
        "urls": {"raw": image, "regular": sized(image, 1080), "small": sized(image, WIDTH)},
        "links": {"html": row.get("photo_url") or None},
        "user": {
            "username": row.get("photographer_username") or None,
            "name": " ".join(filter(None, names)) or None,
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.datasets.unsplash",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command = parser.add_subparsers(required=True).add_parser("fetch", help="fetch the list and photos")
    command.add_argument("folder", metavar="FOLDER", type=Path, help="where they go")
    command.add_argument("--width", type=positive, default=WIDTH, help=f"in pixels (default: {WIDTH})")
    mirror = "another place of the list, also one in the own network; its photos may lie there too"
    command.add_argument("--list-url", help=f"{mirror} (default: {LIST_URL})")
    downloads.add(command, per_host=8)
    found = parser.parse_args(arguments)
    outputs.check("training.datasets.unsplash", "FOLDER", found.folder)
    try:
        with progress_bar("fetching") as bar:
            outcome = fetch(
                found.folder,
                limit=found.limit,
                width=found.width,
                list_url=found.list_url or LIST_URL,
                options=downloads.options_of(found, bar, allow_private=found.list_url is not None),
            )
    except (DataError, OSError) as error:
        parser.exit(1, f"training.datasets.unsplash: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "stopped; the same command goes on from here\n")
    downloads.print_outcome(outcome)
