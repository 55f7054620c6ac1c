"""Photographs as Unsplash gives them: NAME.json beside NAME.jpg, or a table photos.tsv000 in the folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from babelclip.ingest.sources.base import Entry, fingerprint_of, named_path
from babelclip.ingest.sources.folder import FolderSource

_TABLES = "photos.tsv0*"
_CAPTIONS = ("photo_description", "description", "ai_description", "alt_description")
_KEPT = {
    "photo_url": "page",
    "photographer_username": "photographer",
    "photo_location_country": "country",
    "photo_location_city": "city",
    "exif_camera_model": "camera",
}
"""Columns of the table, and the metadata they become."""


def is_unsplash(folder: Path) -> bool:
    """Whether a folder holds one of Unsplash's tables."""
    return any(folder.glob(_TABLES))


class UnsplashSource(FolderSource):
    """A folder whose images have descriptions; those that have none are added without."""

    def __init__(
        self, folder: Path, *, exclude: Iterable[str] = (), exclude_defaults: bool = True, name: str = ""
    ) -> None:
        super().__init__(folder, exclude=exclude, exclude_defaults=exclude_defaults, name=name)

    def entries(self) -> Iterator[Entry]:
        """By path; a photograph's file is called by its id."""
        table = _table(self.folder)
        for entry in super().entries():
            path = named_path(entry.source)
            caption, metadata = _beside(path) or table.get(path.stem) or ("", {})
            if not metadata and not caption:
                yield entry
                continue
            notes = fingerprint_of(caption, metadata)
            fingerprint = entry.fingerprint and f"{entry.fingerprint}-{notes}"
            yield replace(entry, fingerprint=fingerprint, caption=caption, metadata=metadata)


def _beside(image: Path) -> tuple[str, dict[str, Any]] | None:
    try:
        raw = json.loads(image.with_suffix(".json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(raw, dict):
        return None
    metadata: dict[str, Any] = {"unsplash_id": raw.get("id")}
    places = (("urls", "small", "url"), ("links", "html", "page"), ("user", "username", "photographer"))
    for key, inner, name in places:
        part = raw.get(key)
        if isinstance(part, dict) and isinstance(part.get(inner), str):
            metadata[name] = part[inner]
    caption = next((raw[key] for key in _CAPTIONS if isinstance(raw.get(key), str)), "")
    return caption, {key: value for key, value in metadata.items() if isinstance(value, str)}


def _table(folder: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """By photo_id, caption and metadata."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for path in sorted(folder.glob(_TABLES)):
        with path.open(encoding="utf-8", errors="replace", newline="") as lines:
            for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, restval=""):
                id_ = row.get("photo_id")
                if id_:
                    caption = next((row[key] for key in _CAPTIONS if row.get(key)), "")
                    kept = {name: row[key] for key, name in _KEPT.items() if row.get(key)}
                    found[id_] = (caption, {"unsplash_id": id_, **kept})
    return found
