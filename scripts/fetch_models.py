"""Brings a model store from an HTTP server into a folder, and believes nothing of it before its checksum.

    python scripts/fetch_models.py https://models.example.org/manifest.json --sha256 SUM --store model_store

The archives lie beside the manifest, which has the checksum of each. What is in the folder already is not
brought again, so that a second start needs no network. The manifest comes last: one that is broken off leaves
the store as it was, or none. A query in the address, such as a signature, goes with every request.

Ends with status 1 and a sentence when something cannot be had or is not what its checksum says.
"""

import argparse
import contextlib
import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx

from babelclip.atomic_files import replacing
from babelclip.errors import ManifestError
from babelclip.model_store.archives import Archive, archives, check_archive
from babelclip.model_store.manifest import MANIFEST, parse_manifest

# Of connecting, and of each read.
SECONDS = 60.0
# A manifest has some kilobytes for each version, most of them a golden image.
LARGEST_MANIFEST = 64 * 1024 * 1024


class FetchError(Exception):
    """Something of the store cannot be had; the message is written for the operator."""


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/fetch_models.py", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("url", type=_address, metavar="URL", help="of the manifest: https://…/manifest.json")
    parser.add_argument("--sha256", type=_digest, required=True, metavar="SUM", help="of the manifest")
    parser.add_argument(
        "--store", type=Path, required=True, metavar="FOLDER", help="where the store is to be"
    )
    return parser.parse_args(arguments)


def fetch(url: httpx.URL, sha256: str, store: Path, client: httpx.Client) -> None:
    """Make `store` what the manifest at `url` says, whose SHA-256 in hexadecimal digits is `sha256`.

    Raises:
        FetchError: it cannot be had or written, or is another one.
    """
    path = store / MANIFEST
    content = path.read_bytes() if path.is_file() else b""
    there = hashlib.sha256(content).hexdigest() == sha256
    if not there:
        content = _manifest(url, sha256, client)
    try:
        entries = parse_manifest(content, path).entries
    except ManifestError as problem:
        raise FetchError(str(problem)) from problem
    with _written(store):
        store.mkdir(parents=True, exist_ok=True)
        for archive in [one for entry in entries for one in archives(store, entry).values()]:
            try:
                check_archive(archive)
            except ManifestError:  # It is not there, or another one.
                _bring(_beside(url, archive.path.name), archive, client)
        if not there:
            with replacing(path) as (partial,):
                partial.write_bytes(content)


def _manifest(url: httpx.URL, sha256: str, client: httpx.Client) -> bytes:
    content = bytearray()
    for piece in _pieces(url, client):
        content += piece
        if len(content) > LARGEST_MANIFEST:
            raise FetchError(f"{_shown(url)} has more than {LARGEST_MANIFEST} bytes and is no manifest")
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise FetchError(f"{_shown(url)} is not what was asked for: its SHA-256 is {found}, not {sha256}")
    return bytes(content)


def _bring(url: httpx.URL, archive: Archive, client: httpx.Client) -> None:
    print(f"fetch: {_shown(url)}", flush=True)
    digest = hashlib.sha256()
    with replacing(archive.path) as (partial,), partial.open("wb") as file:
        for piece in _pieces(url, client):
            digest.update(piece)
            file.write(piece)
        if digest.hexdigest() != archive.sha256:
            raise FetchError(f"{_shown(url)} is not the archive of the manifest: its SHA-256 differs")


def _pieces(url: httpx.URL, client: httpx.Client) -> Iterator[bytes]:
    try:
        with client.stream("GET", url) as answer:
            if answer.status_code != 200:
                raise FetchError(
                    f"{_shown(url)} answers {answer.status_code} {answer.reason_phrase}".rstrip()
                )
            yield from answer.iter_bytes()
    except httpx.HTTPError as problem:
        raise FetchError(f"{_shown(url)} cannot be had: {problem}") from problem


def _beside(url: httpx.URL, name: str) -> httpx.URL:
    folder, _, _ = url.raw_path.partition(b"?")[0].rpartition(b"/")
    query = b"?" + url.query if url.query else b""
    return url.copy_with(raw_path=folder + b"/" + quote(name).encode() + query)


def _shown(url: httpx.URL) -> str:
    """An address without what opens it: neither user and password nor the query."""
    return str(url.copy_with(username=None, password=None, query=None))


@contextlib.contextmanager
def _written(store: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise FetchError(f"cannot write to {problem.filename or store}: {problem.strerror}") from problem


def _address(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as problem:
        raise argparse.ArgumentTypeError(f"no address: {problem}") from problem
    if url.scheme not in ("http", "https") or not url.host:
        raise argparse.ArgumentTypeError("an address begins with http:// or https:// and a host")
    return url


def _digest(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text.lower(), re.ASCII):
        raise argparse.ArgumentTypeError("a SHA-256 has 64 hexadecimal digits")
    return text.lower()


def main(arguments: list[str]) -> int:
    """Bring the store; return the exit status."""
    options = parse_options(arguments)
    try:
        with httpx.Client(timeout=SECONDS, follow_redirects=True) as client:
            fetch(options.url, options.sha256, options.store, client)
    except FetchError as problem:
        print(f"fetch: {problem}", file=sys.stderr, flush=True)
        return 1
    print(f"fetch: {options.store} is what {_shown(options.url)} says", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
