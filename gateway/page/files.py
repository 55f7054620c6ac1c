"""The page's files as they are sent: read once, packed once, under a name that changes with their content."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "static"
_INDEX = "index.html"
# What stands in index.html for the folder of all other files, and for the modules that are loaded at once.
_FILES = "FILES"
_PRELOADS = "<!-- PRELOADS -->"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class PageFile:
    """A file of the page.

    Attributes:
        content: its bytes.
        packed: the same, gzipped.
        kind: its Content-Type.
        etag: changes with the content.
    """

    content: bytes
    packed: bytes
    kind: str
    etag: str


@dataclass(frozen=True)
class Page:
    """The page.

    Attributes:
        index: index.html.
        digest: of all other files; the name of their folder, so that they can be kept for ever.
        files: all other files, by their paths in that folder.
    """

    index: PageFile
    digest: str
    files: dict[str, PageFile]


@cache
def read_page() -> Page:
    """The page of this package."""
    files = {
        path.relative_to(_FOLDER).as_posix(): path.read_bytes()
        for path in sorted(_FOLDER.rglob("*"))
        if path.suffix in _KINDS and path.name != _INDEX
    }
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    folder = f"files/{digest.hexdigest()[:16]}"
    # A module names others, which a browser would find one after the other.
    preloads = "\n".join(
        f'<link rel="modulepreload" href="{folder}/{name}">' for name in files if name.endswith(".js")
    )
    index = (_FOLDER / _INDEX).read_text(encoding="utf-8")
    index = index.replace(f'"{_FILES}/', f'"{folder}/').replace(_PRELOADS, preloads)
    return Page(
        index=_file(_INDEX, index.encode()),
        digest=folder.removeprefix("files/"),
        files={name: _file(name, content) for name, content in files.items()},
    )


def _file(name: str, content: bytes) -> PageFile:
    return PageFile(
        content=content,
        packed=gzip.compress(content, mtime=0),
        kind=_KINDS[Path(name).suffix],
        etag=f'"{hashlib.sha256(content).hexdigest()[:32]}"',
    )
