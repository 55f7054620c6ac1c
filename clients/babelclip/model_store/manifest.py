"""model_store/manifest.json: which embedding spaces should be served, and how to tell that they are.

    {"format": 1,
     "spaces": [{"name": "mini", "space": "…", "version": "1.0", "default": true,
                 "text": {"mar": "mini-text.mar", "sha256": "…"}, "vision": {…},
                 "canary": {"min_cosine": 0.99, "text": {"input": "…", "vector": "…"}, "vision": {…}}}],
     "previous": "0.9",
     "promoting": {"from": "1.0", "to": "2.0"},
     "deleting": {"version": "0.8", "archives": ["old-text.mar", "old-vision.mar"]}}

`python -m export` writes the format and the spaces. The rest is the registry's: the default before this one,
and what it has begun. Keys that are not known here are left as they are. The file comes from outside: it is
believed only after it was checked.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import numpy as np

from babelclip.embeddings import Vectors
from babelclip.errors import ManifestError, RegistryError
from babelclip.wire import TOWERS, Tower

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True, eq=False)
class TowerEntry:
    """One tower: its archive in the store, and float32 [D] that it must give for a known item, the canary."""

    mar: str
    sha256: str
    canary: str | bytes  # A text, or an encoded image.
    vector: Vectors


@dataclass(frozen=True, eq=False)
class Entry:
    """One embedding space: the version that both its towers are served as, and the towers by name.

    `unproved` marks what an `add` has begun to bring in: it is served only once its canaries have agreed.
    """

    name: str
    space: str
    version: str
    default: bool
    unproved: bool
    min_cosine: float
    towers: Mapping[Tower, TowerEntry]


@dataclass(frozen=True)
class Promotion:
    """A change of default that was begun: `source` was the default, `target` is to become it."""

    source: str
    target: str
    rollback: bool


@dataclass(frozen=True)
class Deletion:
    """Archives of a version that has left the manifest; they may still be there."""

    version: str
    archives: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Manifest:
    """A manifest that was read; `document` is all of it, as it is in the file."""

    path: Path
    entries: tuple[Entry, ...]
    previous: str | None
    promoting: Promotion | None
    deleting: Deletion | None
    document: Mapping[str, Any]

    @property
    def default(self) -> Entry:
        """The entry that is served to whoever names no version.

        Raises:
            ManifestError: there is none.
        """
        for entry in self.entries:
            if entry.default:
                return entry
        raise ManifestError(
            f"{self.path} names no default; it has {self._named()}, and exactly one must be the default"
        )

    def named(self, name: str | None) -> Entry:
        """The entry of that name; of several the default, else the one that came last. None: the default.

        Raises:
            ManifestError: there is none.
        """
        if name is None:
            return self.default
        named = [entry for entry in self.entries if entry.name == name]
        if not named:
            raise ManifestError(f"{self.path} has no {name!r}; it has {self._named()}")
        return next((entry for entry in named if entry.default), named[-1])

    def version(self, version: str) -> Entry:
        """The entry of that version.

        Raises:
            RegistryError: there is none.
        """
        if (entry := self.find(version)) is None:
            have = ", ".join(entry.version for entry in self.entries) or "none"
            raise RegistryError(f"there is no version {version!r} in {self.path.parent}; it has {have}")
        return entry

    def find(self, version: str) -> Entry | None:
        """The entry of that version, None where there is none."""
        return next((entry for entry in self.entries if entry.version == version), None)

    def _named(self) -> str:
        return ", ".join(sorted({entry.name for entry in self.entries})) or "nothing"


def read_manifest(store: Path) -> Manifest:
    """The manifest of a model store.

    Raises:
        ManifestError: the folder has none, or it cannot be read, or is not of this format.
    """
    path = store / MANIFEST
    try:
        return parse_manifest(path.read_bytes(), path)
    except (FileNotFoundError, NotADirectoryError):
        raise ManifestError(
            f"{store} is no model store: it has no {MANIFEST}; `python -m export CHECKPOINT --store {store}`"
            " writes one"
        ) from None
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from error


def parse_manifest(data: bytes, path: Path) -> Manifest:
    """The content of the file `path` → what it says.

    Raises:
        ManifestError: it is no manifest of this format, or contradicts itself.
    """
    try:
        document = json.loads(data)
        # What cannot be written again, such as half of a surrogate pair, must not be let in.
        json.dumps(document, ensure_ascii=False).encode()
        return _manifest(path, _mapping(document, "it"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ManifestError(f"{path} is no manifest of a model store: {reason}") from error


def _manifest(path: Path, document: Mapping[str, Any]) -> Manifest:
    if document["format"] != FORMAT:
        raise ValueError(f"its format is {brief(document['format'])}, not {FORMAT}")
    spaces = document["spaces"]
    if not isinstance(spaces, list):
        raise ValueError("'spaces' is no list")
    entries = tuple(_entry(_mapping(space, "an entry of 'spaces'")) for space in spaces)
    versions = [entry.version for entry in entries]
    if twice := {version for version in versions if versions.count(version) > 1}:
        raise ValueError(f"it has version {min(twice)!r} twice")
    if sum(entry.default for entry in entries) > 1:
        raise ValueError("it names several defaults, and exactly one must be the default")
    previous, promoting, deleting = (document.get(key) for key in ("previous", "promoting", "deleting"))
    return Manifest(
        path=path,
        entries=entries,
        previous=None if previous is None else _word(document, "previous"),
        promoting=None if promoting is None else _promotion(promoting),
        deleting=None if deleting is None else _deletion(deleting),
        document=document,
    )


def _entry(entry: Mapping[str, Any]) -> Entry:
    canary = _mapping(entry["canary"], "'canary'")
    min_cosine = canary["min_cosine"]
    if not isinstance(min_cosine, int | float) or not -1 <= min_cosine <= 1:
        raise ValueError(f"'min_cosine' is {brief(min_cosine)}, no number from -1 to 1")
    return Entry(
        name=_word(entry, "name"),
        space=_word(entry, "space"),
        version=_word(entry, "version"),
        default=_flag(entry["default"], "default"),
        unproved=_flag(entry.get("unproved", False), "unproved"),
        min_cosine=float(min_cosine),
        towers={tower: _tower(tower, entry, _mapping(canary[tower], "a canary")) for tower in TOWERS},
    )


def _tower(tower: Tower, entry: Mapping[str, Any], canary: Mapping[str, Any]) -> TowerEntry:
    archive = _mapping(entry[tower], f"{tower!r}")
    known = canary["input"]
    if not isinstance(known, str):
        raise ValueError("the 'input' of a canary is no text")
    vector = np.frombuffer(base64.b64decode(canary["vector"], validate=True), dtype="<f4").astype(np.float32)
    if not vector.size or not math.isfinite(float(np.abs(vector).sum(dtype=np.float64))):
        raise ValueError("the 'vector' of a canary holds no finite numbers")
    return TowerEntry(
        mar=_word(archive, "mar"),
        sha256=_word(archive, "sha256"),
        canary=known if tower == "text" else base64.b64decode(known, validate=True),
        vector=vector,
    )


def _promotion(value: Any) -> Promotion:
    begun = _mapping(value, "'promoting'")
    return Promotion(
        _word(begun, "from"), _word(begun, "to"), _flag(begun.get("rollback", False), "rollback")
    )


def _deletion(value: Any) -> Deletion:
    left = _mapping(value, "'deleting'")
    archives = left["archives"]
    if not isinstance(archives, list):
        raise ValueError("'archives' is no list")
    return Deletion(_word(left, "version"), tuple(_word({"archives": mar}, "archives") for mar in archives))


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no JSON object")
    return value


def _word(entry: Mapping[str, Any], key: str) -> str:
    """A value that can be part of a file's name and of an address: no path, nothing invisible."""
    value = entry[key]
    if not isinstance(value, str) or not value.isprintable() or value != value.strip():
        raise ValueError(f"{key!r} is {brief(value)}, no printable text")
    if not value or value[0] == "." or "/" in value or "\\" in value or ".." in value:
        raise ValueError(f"{key!r} is {brief(value)}, which cannot be part of a file's name")
    return value


def _flag(value: Any, key: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{key!r} is {brief(value)}, neither true nor false")
    return value
