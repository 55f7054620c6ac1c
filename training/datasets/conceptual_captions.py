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
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import httpx

from models import outputs
from training.datasets.examples import Examples, Gathering
from training.datasets.fetching import FetchError, Limits, client, fetch
from training.datasets.hosts import Hosts
from training.datasets.rows import DataError, LeftOut, cells_of, checked_text, json_document

SUCCESS = "success"
COLUMNS = ("caption", "url")  # their order where there is no header, as in the public file
RESTING = "not asked for again, because the host wants a longer rest"
TRIES = 3
LONGEST_REST = 120.0  # seconds; a host that asks for a longer one is left until the next run
FIRST_REST = 2.0  # seconds, doubled with every try, for a host that does not say
SAVE_SECONDS = 30.0
USER_AGENT = "babelclip-dataset-downloader/1.0 (reads each image of a public caption list once)"


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
    gathering, present = Gathering(), _present(folder)
    for place, caption, url in rows(folder / "googlecc.tsv", left_out):
        path = image_path(folder, url)
        if processed.get(url) != SUCCESS:
            left_out.passed_over("not downloaded")
        elif path.name in present:
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


def read_map(path: Path) -> dict[str, str]:
    """processed_map.json.

    Raises:
        DataError: it is missing, or is not an object of texts.
    """
    found = json_document(path)
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise DataError(f'{path} must be an object of addresses, each "{SUCCESS}" or a reason')
    return found


def download(
    folder: Path,
    *,
    workers: int = 8,
    per_host: int = 2,
    limit: int | None = None,
    retry: bool = False,
    limits: Limits | None = None,
    user_agent: str = USER_AGENT,
) -> Counter[str]:
    """Fetch the images of the first `limit` rows (all: None) that are not there; what became of each address.

    Raises:
        DataError: googlecc.tsv or processed_map.json is missing or malformed.
    """
    limits = limits or Limits()
    left_out = LeftOut(strict=False)
    wanted = dict.fromkeys(
        url for _, _, url in itertools.islice(rows(folder / "googlecc.tsv", left_out), limit)
    )
    (folder / "images").mkdir(parents=True, exist_ok=True)
    map_path = folder / "processed_map.json"
    processed = read_map(map_path) if map_path.exists() else {}
    present = _present(folder)
    for url in wanted:
        if f"{_key(url)}.jpg" in present:
            processed[url] = SUCCESS  # written after the map was last saved
        elif retry:
            processed.pop(url, None)
    try:
        with client(user_agent, limits) as web, ThreadPoolExecutor(workers) as pool:
            hosts = Hosts((url for url in wanted if url not in processed), at_once=per_host)
            _fetch_all(web, pool, hosts, processed, folder, workers, limits)
    finally:
        _save(map_path, processed)
    outcome = Counter(processed.get(url, RESTING) for url in wanted)
    outcome.update(left_out.counts)
    return outcome


def _fetch_all(
    web: httpx.Client,
    pool: ThreadPoolExecutor,
    hosts: Hosts,
    processed: dict[str, str],
    folder: Path,
    workers: int,
    limits: Limits,
) -> None:
    """Fetch until no address waits; all decisions are made in this thread, the others only fetch."""
    tries: Counter[str] = Counter()
    running: dict[Future[None], str] = {}
    save_at = time.monotonic() + SAVE_SECONDS
    while True:
        while len(running) < workers and (url := hosts.next()) is not None:
            running[pool.submit(_fetch_to, web, url, image_path(folder, url), limits)] = url
        pause = hosts.rest()
        if running:
            pause = SAVE_SECONDS if pause is None else pause
            finished, _ = wait(running, timeout=pause, return_when=FIRST_COMPLETED)
        elif pause is not None:
            time.sleep(pause)
            finished = set()
        else:
            return
        for future in finished:
            url = running.pop(future)
            hosts.done(url)
            try:
                future.result()
                processed[url] = SUCCESS
            except FetchError as error:
                rest = FIRST_REST * 2 ** tries[url] if error.rest is None else error.rest
                tries[url] += 1
                if not error.again or (tries[url] == TRIES and rest <= LONGEST_REST):
                    processed[url] = error.reason
                elif rest <= LONGEST_REST:
                    hosts.again(url, rest)
                else:
                    hosts.give_up(url)
        if time.monotonic() > save_at:
            started = time.monotonic()
            _save(folder / "processed_map.json", processed)
            # A map of millions takes seconds to write: at most a twentieth of the time is spent on it.
            save_at = time.monotonic() + max(SAVE_SECONDS, 20 * (time.monotonic() - started))


def _fetch_to(web: httpx.Client, url: str, path: Path, limits: Limits) -> None:
    _write(path, fetch(web, url, limits))


def _write(path: Path, data: bytes) -> None:
    with outputs.replacing(path) as partial:
        partial.write_bytes(data)


def _save(path: Path, processed: dict[str, str]) -> None:
    _write(path, json.dumps(processed, ensure_ascii=False, indent=0).encode())


def _present(folder: Path) -> set[str]:
    """The names of the image files that have bytes."""
    images = folder / "images"
    if not images.is_dir():
        return set()
    with os.scandir(images) as entries:
        return {entry.name for entry in entries if entry.is_file() and entry.stat().st_size}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="holds googlecc.tsv; gets images/ and processed_map.json")
    parser.add_argument("--workers", type=int, default=8, help="fetches at a time (default: 8)")
    parser.add_argument("--per-host", type=int, default=2, help="of them from one host (default: 2)")
    parser.add_argument("--limit", type=int, help="only the images of the first rows (default: all)")
    parser.add_argument("--retry", action="store_true", help="ask again for those that failed before")
    parser.add_argument("--user-agent", default=USER_AGENT, help="how to present itself, best with a contact")
    options = parser.parse_args()
    if min(options.workers, options.per_host) < 1:
        parser.error("--workers and --per-host must be at least 1")
    if options.limit is not None and options.limit < 0:
        parser.error("--limit must not be negative")
    outputs.check("training.datasets.conceptual_captions", "FOLDER", options.folder)
    try:
        outcome = download(
            options.folder,
            workers=options.workers,
            per_host=options.per_host,
            limit=options.limit,
            retry=options.retry,
            user_agent=options.user_agent,
        )
    except DataError as error:
        parser.exit(1, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "stopped; the same command goes on from here\n")
    for reason, count in outcome.most_common():
        print(f"{count:>9,} {reason}")


if __name__ == "__main__":
    main()
