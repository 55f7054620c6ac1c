"""Fetch COCO's captions and the images they are of, from its own site or a mirror of it.

    python -m training.datasets.coco fetch datasets/coco --year 2014 --limit 1000

writes

    FOLDER/annotations_trainval2014.zip             as published; its SHA-256 is checked
    FOLDER/annotations/captions_train2014.json      out of it, and likewise of val
    FOLDER/train2014/COCO_train2014_000000000009.jpg …
    FOLDER/fetched.json                             {address: "success", or in a few words why not}

Killed at any time, the same command goes on where it was. With --limit, readers leave out and count the
captions of the images that are not there.
"""

import argparse
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from babelclip.cli.console import progress_bar
from models import outputs
from training.datasets import downloads
from training.datasets.fetching import client
from training.datasets.large_files import fetch_file, patient
from training.datasets.rows import DataError, json_document

BASE_URL = "http://images.cocodataset.org"  # Over HTTPS it shows the certificate of another name.
SPLITS = ("train", "val")
CHECKSUMS = {  # SHA-256 of annotations_trainvalYEAR.zip
    2014: "031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
    2017: "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
}
MAX_JSON_BYTES = 1_000_000_000  # of one file of captions; the largest published has 67 million
FILE_NAME = re.compile(r"[A-Za-z0-9_-]+\.jpg")


def fetch(
    folder: Path,
    *,
    year: int = 2014,
    splits: Sequence[str] = SPLITS,
    limit: int | None = None,
    base_url: str = BASE_URL,
    options: downloads.Options | None = None,
) -> Counter[str]:
    """The captions, and the first `limit` images of each split (all: None); what became of each image.

    Raises:
        DataError: the captions cannot be had, or are not COCO's.
    """
    options = options or downloads.Options()
    archive = folder / f"annotations_trainval{year}.zip"
    limits = patient(options.limits)
    with client(options.user_agent, limits) as web:
        url = f"{base_url}/annotations/{archive.name}"
        fetch_file(web, url, archive, limits, sha256=CHECKSUMS[year], progress=options.progress)
    wanted: dict[str, Path] = {}
    for split in splits:
        name = f"{split}{year}"
        captions = folder / "annotations" / f"captions_{name}.json"
        extract(archive, f"annotations/{captions.name}", captions)
        for file in file_names(captions)[:limit]:
            wanted[f"{base_url}/{name}/{file}"] = folder / name / file
    return downloads.download(wanted, folder / "fetched.json", options)


def extract(archive: Path, member: str, path: Path) -> None:
    """One file out of a ZIP, unless it is there at its full size; its checksum in the archive is checked.

    Raises:
        DataError: the archive is none, or has no such file.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            info = opened.getinfo(member)
            if path.exists() and path.stat().st_size == info.file_size:
                return
            if info.file_size > MAX_JSON_BYTES:
                raise DataError(f"{archive}: {member} has {info.file_size:,} bytes, more than can be meant")
            path.parent.mkdir(parents=True, exist_ok=True)
            downloads.write(path, opened.read(info))
    except KeyError as error:
        raise DataError(f"{archive} has no {member}") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{archive} is no sound ZIP file: {error}; remove it to fetch it again") from error


def file_names(captions: Path) -> list[str]:
    """The images that a file of COCO's captions is of, in its order.

    Raises:
        DataError: it is not COCO's.
    """
    found = json_document(captions)
    rows = found.get("images") if isinstance(found, dict) else None
    names = [row.get("file_name") if isinstance(row, dict) else None for row in rows or []]
    if not names or not all(isinstance(name, str) and FILE_NAME.fullmatch(name) for name in names):
        raise DataError(
            f'{captions} must have an array "images" of objects with a file_name like 000000000009.jpg'
        )
    return [str(name) for name in names]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.datasets.coco",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command = parser.add_subparsers(required=True).add_parser("fetch", help="fetch captions and images")
    command.add_argument("folder", metavar="FOLDER", type=Path, help="where they go")
    command.add_argument("--year", type=int, choices=tuple(CHECKSUMS), default=2014, help="default: 2014")
    command.add_argument("--split", nargs="+", choices=SPLITS, default=SPLITS, help="default: train val")
    mirror = "a mirror, also one in the own network, with the files of the site"
    command.add_argument("--base-url", help=f"{mirror} (default: {BASE_URL})")
    downloads.add(command, per_host=8)
    found = parser.parse_args(arguments)
    outputs.check("training.datasets.coco", "FOLDER", found.folder)
    try:
        with progress_bar("fetching") as bar:
            outcome = fetch(
                found.folder,
                year=found.year,
                splits=found.split,
                limit=found.limit,
                base_url=(found.base_url or BASE_URL).rstrip("/"),
                options=downloads.options_of(found, bar, allow_private=found.base_url is not None),
            )
    except (DataError, OSError) as error:
        parser.exit(1, f"training.datasets.coco: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "stopped; the same command goes on from here\n")
    downloads.print_outcome(outcome)
