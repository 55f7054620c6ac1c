"""A model store as the export leaves it: what its manifest says, and its archives, checked and unpacked."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from babelclip.errors import TransportError
from babelclip.wire import TOWERS, Tower

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Archive:
    """One tower's MAR, and the digest that the manifest has of it."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Pair:
    """An entry of the manifest: the two towers of one embedding space."""

    name: str
    version: str
    archives: Mapping[Tower, Archive]


def read_pair(store: Path, name: str | None) -> Pair:
    """The entry `name` of the store's manifest; without a name the default one.

    Raises:
        ValueError: the store has no manifest, none of this format, or no such entry.
        OSError: the manifest cannot be read.
    """
    path = store / MANIFEST
    if not path.is_file():
        raise ValueError(f"{store} is no model store: it has no {MANIFEST}; python -m export writes one")
    try:
        manifest = json.loads(path.read_bytes())
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']!r}, not {FORMAT}")
        pairs = {str(entry["name"]): _pair(store, entry) for entry in manifest["spaces"]}
        default = next((str(entry["name"]) for entry in manifest["spaces"] if entry["default"]), None)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no manifest of a model store: {error}") from error
    wanted = default if name is None else name
    if wanted is None:
        raise ValueError(f"{path} names no default; it has {_listed(pairs)}")
    if wanted not in pairs:
        raise ValueError(f"{path} has no {wanted!r}; it has {_listed(pairs)}")
    return pairs[wanted]


def unpack(archive: Archive, folder: Path) -> None:
    """The files of a MAR into an empty folder.

    Raises:
        TransportError: the archive cannot be read, is not the one of the manifest, or holds a path that leads
            out of the folder.
    """
    try:
        with archive.path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != archive.sha256:
                raise TransportError(
                    f"{archive.path} is not the archive of the manifest: its SHA-256 differs; export it again"
                )
            with zipfile.ZipFile(file) as packed:
                root = folder.resolve()
                for name in packed.namelist():
                    # zipfile would put it somewhere else inside: an archive that holds this means no good.
                    if not (root / name).resolve().is_relative_to(root):
                        raise TransportError(f"{archive.path} holds {name!r}, which leads out of its folder")
                packed.extractall(root)
    except (OSError, zipfile.BadZipFile) as error:
        raise TransportError(f"{archive.path} cannot be unpacked: {error}") from error


def _pair(store: Path, entry: Mapping[str, Any]) -> Pair:
    archives = {tower: Archive(store / entry[tower]["mar"], str(entry[tower]["sha256"])) for tower in TOWERS}
    return Pair(str(entry["name"]), str(entry["version"]), archives)


def _listed(pairs: Mapping[str, Pair]) -> str:
    return ", ".join(sorted(pairs)) or "nothing"
