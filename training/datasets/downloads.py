"""Fetch many images to their files: whole or absent, a few at a time of each host, and not twice.

What became of each address is kept in a JSON file, {address: "success", or in a few words why not}. Killed
at any time, a download goes on where it was: an address that is in that file, or whose image has its file, is
not asked for again.
"""

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from rich.progress import Progress as Bar

from models import outputs
from training.arguments import count, positive
from training.datasets.fetching import FetchError, Limits, client, fetch
from training.datasets.hosts import Hosts
from training.datasets.rows import DataError, json_document

SUCCESS = "success"
RESTING = "not asked for again, because the host wants a longer rest"
TRIES = 3
LONGEST_REST = 120.0  # seconds; a host that asks for a longer one is left until the next run
FIRST_REST = 2.0  # seconds, doubled with every try, for a host that does not say
SAVE_SECONDS = 30.0
USER_AGENT = "babelclip-dataset-downloader/1.0 (reads each image of a public list once)"

Progress = Callable[[int, int], None]
"""Called with how many are done, and of how many."""


@dataclass(frozen=True)
class Options:
    """How a download goes about it."""

    workers: int = 8  # fetches at a time
    per_host: int = 2  # of them from one host
    retry: bool = False  # ask again for what failed before
    limits: Limits = field(default_factory=Limits)
    user_agent: str = USER_AGENT
    progress: Progress | None = None


def add(parser: argparse.ArgumentParser, *, per_host: int) -> None:
    """The flags of `Options`, and --limit."""
    flag = parser.add_argument
    flag("--workers", type=positive, default=8, help="fetches at a time (default: 8)")
    flag("--per-host", type=positive, default=per_host, help=f"of them from one host (default: {per_host})")
    flag("--limit", type=count, help="only the first images (default: all)")
    flag("--retry", action="store_true", help="ask again for those that failed before")
    flag("--user-agent", default=USER_AGENT, help="how to present itself, best with a contact")


def options_of(found: argparse.Namespace, bar: Bar, *, allow_private: bool = False) -> Options:
    """What the flags of `add` say; progress is shown on the first task of `bar`.

    `allow_private` is for a mirror in the own network that the person named.
    """
    return Options(
        workers=found.workers,
        per_host=found.per_host,
        retry=found.retry,
        limits=Limits(allow_private=allow_private),
        user_agent=found.user_agent,
        progress=lambda done, total: bar.update(bar.task_ids[0], completed=done, total=total),
    )


def download(wanted: Mapping[str, Path], map_path: Path, options: Options) -> Counter[str]:
    """Fetch each address to its file, unless it is there; what became of each, counted.

    Raises:
        DataError: what became of them before, at `map_path`, is malformed.
    """
    for folder in {path.parent for path in wanted.values()}:
        folder.mkdir(parents=True, exist_ok=True)
    processed = read_map(map_path) if map_path.exists() else {}
    present = present_files(path.parent for path in wanted.values())
    for url, path in wanted.items():
        if path in present:
            processed[url] = SUCCESS  # written after the map was last saved
        elif options.retry or processed.get(url) == SUCCESS:  # or its file was taken away
            processed.pop(url, None)
    try:
        with client(options.user_agent, options.limits) as web, ThreadPoolExecutor(options.workers) as pool:
            _fetch_all(web, pool, wanted, processed, map_path, options)
    finally:
        save_map(map_path, processed)
    return Counter(processed.get(url, RESTING) for url in wanted)


def _fetch_all(
    web: httpx.Client,
    pool: ThreadPoolExecutor,
    wanted: Mapping[str, Path],
    processed: dict[str, str],
    map_path: Path,
    options: Options,
) -> None:
    """Fetch until no address waits; all decisions are made in this thread, the others only fetch."""
    hosts = Hosts((url for url in wanted if url not in processed), at_once=options.per_host)
    done = sum(url in processed for url in wanted)
    tries: Counter[str] = Counter()
    running: dict[Future[None], str] = {}
    save_at = time.monotonic() + SAVE_SECONDS
    while True:
        while len(running) < options.workers and (url := hosts.next()) is not None:
            running[pool.submit(_fetch_to, web, url, wanted[url], options.limits)] = url
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
            done += url in processed
        if options.progress is not None:
            options.progress(done, len(wanted))
        if time.monotonic() > save_at:
            started = time.monotonic()
            save_map(map_path, processed)
            # A map of millions takes seconds to write: at most a twentieth of the time is spent on it.
            save_at = time.monotonic() + max(SAVE_SECONDS, 20 * (time.monotonic() - started))


def _fetch_to(web: httpx.Client, url: str, path: Path, limits: Limits) -> None:
    write(path, fetch(web, url, limits))


def write(path: Path, data: bytes) -> None:
    """A file, whole or not at all."""
    with outputs.replacing(path) as partial:
        partial.write_bytes(data)


def read_map(path: Path) -> dict[str, str]:
    """What became of each address.

    Raises:
        DataError: the file is missing, or is not an object of texts.
    """
    found = json_document(path)
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise DataError(f'{path} must be an object of addresses, each "{SUCCESS}" or a reason')
    return found


def save_map(path: Path, processed: Mapping[str, str]) -> None:
    """What `read_map` reads."""
    write(path, json.dumps(processed, ensure_ascii=False, indent=0).encode())


def present_files(folders: Iterable[Path]) -> set[Path]:
    """The files in these folders that have bytes."""
    found: set[Path] = set()
    for folder in set(folders):
        if folder.is_dir():
            with os.scandir(folder) as entries:
                found.update(folder / one.name for one in entries if one.is_file() and one.stat().st_size)
    return found


def print_outcome(outcome: Counter[str]) -> None:
    """A line for each thing that became of addresses."""
    for reason, number in outcome.most_common():
        print(f"{number:>9,} {reason}")
