"""Fetch one large file, gone on with where it stopped, and checked before it takes its name.

While it comes it is FOLDER/.NAME.partial, with what the server called that version of it beside. The next
try, of this process or of a later one, asks for the rest (a Range request) on the condition that it is still
the same version (If-Range); when it has changed, or the server gives no ranges, it begins anew.
"""

import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx

from models import outputs
from training.datasets.downloads import LONGEST_REST, TRIES, Progress
from training.datasets.fetching import FetchError, Limits, answered, refusal
from training.datasets.rows import DataError

FIRST_REST = 2.0  # seconds, doubled with every try that brought nothing
WORTH = 10_000  # bytes; a try that brought fewer counts as one that brought nothing
RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")


def fetch_file(
    web: httpx.Client,
    url: str,
    path: Path,
    limits: Limits,
    *,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> None:
    """The file at `url`, at `path`; where there is one already, nothing is asked.

    Args:
        limits: `seconds` are for each wait for the server, not for the whole; `max_bytes` for the whole.
        sha256: its checksum, where its publisher or others have told it.
        progress: called with the bytes that are there and the bytes that are due.

    Raises:
        DataError: it cannot be had, or is another file than the checksum is of.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}{outputs.PARTIAL}")
    tries = 0
    while True:
        before = _size(partial)
        try:
            _more(web, url, partial, limits, progress)
            break
        except FetchError as error:
            tries = 1 if _size(partial) >= before + WORTH else tries + 1
            rest = FIRST_REST * 2 ** (tries - 1) if error.rest is None else error.rest
            if not error.again or tries == TRIES or rest > LONGEST_REST:
                kept = "; what came is kept, and the same command goes on from there"
                raise DataError(
                    f"{url} cannot be fetched: {error.reason}{kept if error.again else ''}"
                ) from error
            time.sleep(rest)
    if sha256 is not None:
        with partial.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            partial.unlink()
            raise DataError(f"{url} is not the file that is due: its SHA-256 is {found}, not {sha256}")
    partial.replace(path)
    _about(partial).unlink(missing_ok=True)


def _more(web: httpx.Client, url: str, partial: Path, limits: Limits, progress: Progress | None) -> None:
    """Bring `partial` to its end in one request.

    Raises:
        FetchError: the answer was no, or ended too soon.
    """
    known = _known(partial, url)
    version = known.get("version", "")
    have = _size(partial) if version else 0
    if have and known.get("total") == have:
        return
    headers = {"Accept": "*/*"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with answered(web, url, limits, headers=headers) as response:
        if response.status_code == 416:  # It has become shorter than what came.
            partial.unlink()
            raise FetchError("http 416", again=True)
        total, begins = _extent(response)
        if begins not in (0, have):
            raise FetchError("a part that was not asked for")
        if total is not None and total > limits.max_bytes:
            raise FetchError(f"it has {total:,} bytes, and {limits.max_bytes:,} are allowed")
        about = {"url": url, "version": _strong_version(response), "total": total}
        _about(partial).write_text(json.dumps(about), encoding="utf-8")
        with partial.open("r+b" if begins else "wb") as file:
            file.seek(begins)
            file.truncate()
            at = begins
            for part in response.iter_raw():
                at += len(part)
                if at > (limits.max_bytes if total is None else total):
                    raise FetchError("more bytes than were announced")
                file.write(part)
                if progress is not None:
                    progress(at, total or at)
    if total is not None and at < total:
        raise FetchError("cut short", again=True)


def _extent(response: httpx.Response) -> tuple[int | None, int]:
    """How many bytes the whole file has, None where that is not told, and at which this answer begins."""
    if response.status_code == 206:
        found = RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None:
            raise FetchError("a part that was not asked for")
        return int(found[2]), int(found[1])
    if response.status_code != 200:
        raise refusal(response)
    length = response.headers.get("Content-Length", "")
    return (int(length[:18]) if length.isdecimal() else None), 0


def _strong_version(response: httpx.Response) -> str:
    """What names this version to If-Range; empty: nothing that is exact to the byte does."""
    tag = str(response.headers.get("ETag", ""))
    return tag if tag.startswith('"') else str(response.headers.get("Last-Modified", ""))


def _known(partial: Path, url: str) -> dict[str, Any]:
    """What is known of the version of `url` that the partial file is of; empty where nothing is."""
    try:
        about = json.loads(_about(partial).read_bytes())
        return about if about["url"] == url and isinstance(about["version"], str) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _about(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def patient(limits: Limits) -> Limits:
    """Limits of images → of a large file: no end of bytes, and a minute for each wait."""
    return Limits(
        seconds=60.0, max_bytes=10**10, max_pixels=limits.max_pixels, allow_private=limits.allow_private
    )
