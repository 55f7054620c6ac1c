"""A source by what the command line or a job is told: a path or an address, and what kind it is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from babelclip.ingest.sources.base import Source
from babelclip.ingest.sources.folder import FolderSource


def open_source(
    place: str, *, name: str = "", exclude: Iterable[str] = (), exclude_defaults: bool = True
) -> Source:
    """The source at a place.

    Args:
        name: of the collection; the place itself unless given.
        exclude, exclude_defaults: of folders, see `babelclip.search.folder.find_images`.

    Raises:
        ValueError: nothing of the kind is there.
    """
    if not Path(place).is_dir():
        raise ValueError(f"{place} is no folder")
    return FolderSource(Path(place), exclude=exclude, exclude_defaults=exclude_defaults, name=name)
