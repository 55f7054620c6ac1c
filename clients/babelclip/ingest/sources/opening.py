"""A source by what the command line or a job is told: a path or an address, and what kind it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from babelclip.ingest.sources import table
from babelclip.ingest.sources.addresses import not_allowed
from babelclip.ingest.sources.base import Source
from babelclip.ingest.sources.coco import CocoSource
from babelclip.ingest.sources.folder import FolderSource
from babelclip.ingest.sources.object_store import ObjectStoreSource, is_store
from babelclip.ingest.sources.unsplash import UnsplashSource, is_unsplash
from babelclip.ingest.sources.webdataset import WebDatasetSource


def open_source(
    place: str,
    *,
    name: str = "",
    images: Path | None = None,
    exclude: Iterable[str] = (),
    exclude_defaults: bool = True,
    fetch: Callable[[str], bytes] = not_allowed,
) -> Source:
    """The source at a place.

    A folder, one of Unsplash's where it has their table; `.tar` shards with `{000..009}` or `*`; a table
    `.csv`, `.tsv` or `.parquet`; annotations of COCO, `.json`; an object store, `s3://bucket/path`.

    Args:
        name: of the collection; the place itself unless given.
        images: where the images of COCO's annotations are, unless in the usual place.
        fetch: gives what is at the addresses that a table holds, as an `AddressReader` does.
        exclude, exclude_defaults: of folders, see `babelclip.search.folder.find_images`.

    Raises:
        ValueError: nothing of the kind is there, or it is broken.
        OSError: it cannot be read.
        ImportError: a package that it needs is not installed.
    """
    if is_store(place):
        return ObjectStoreSource(place, name=name)
    path = Path(place)
    if path.is_dir():
        kind = UnsplashSource if is_unsplash(path) else FolderSource
        return kind(path, exclude=exclude, exclude_defaults=exclude_defaults, name=name)
    suffix = path.suffix.lower()
    if suffix == ".tar":
        return WebDatasetSource(place, name=name)
    if not path.is_file():
        raise ValueError(f"{place} is no folder, no file and no address of an object store")
    if suffix in table.SUFFIXES:
        return table.TableSource(path, name=name, fetch=fetch)
    if suffix == ".json":
        return CocoSource(path, images=images, name=name)
    raise ValueError(f"{place} is no folder, and no .tar, .csv, .tsv, .parquet or .json")
