"""A model store as the export leaves it: what its manifest says, and its archives, checked and unpacked."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from babelclip.errors import ManifestError, TransportError
from babelclip.model_store.manifest import Entry, read_manifest
from babelclip.wire import Tower

# Where the model archiver says what an archive is; TorchServe serves it as the version that is given there.
_ARCHIVERS_MANIFEST = "MAR-INF/MANIFEST.json"


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
        ManifestError: the store has no manifest, none of this format, or no such entry.
    """
    entry = read_manifest(store).named(name)
    return Pair(entry.name, entry.version, archives(store, entry))


def archives(store: Path, entry: Entry) -> dict[Tower, Archive]:
    """The two MARs of an entry, which nobody has looked at yet."""
    return {tower: Archive(store / one.mar, one.sha256) for tower, one in entry.towers.items()}


def check_archive(archive: Archive) -> None:
    """Reads the whole archive and compares it with the manifest's digest.

    Raises:
        ManifestError: it cannot be read, or is another one.
    """
    try:
        with archive.path.open("rb") as file:
            found = _sha256(file)
    except OSError as error:
        raise ManifestError(
            f"the manifest names {archive.path}, which cannot be read: {error.strerror}"
        ) from error
    if found != archive.sha256:
        raise ManifestError(
            f"{archive.path} is not the archive of the manifest: its SHA-256 differs; export it again"
        )


def archived_version(archive: Archive) -> str:
    """The version that TorchServe will serve the archive as, whatever the store's manifest says.

    Raises:
        ManifestError: it is no model archive.
    """
    try:
        with zipfile.ZipFile(archive.path) as packed:
            return str(json.loads(packed.read(_ARCHIVERS_MANIFEST))["model"]["modelVersion"])
    except (OSError, zipfile.BadZipFile, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{archive.path} is no model archive: {error}") from error


def unpack(archive: Archive, folder: Path) -> None:
    """The files of a MAR into an empty folder.

    Raises:
        TransportError: the archive cannot be read, is not the one of the manifest, or holds a path that leads
            out of the folder.
    """
    try:
        with archive.path.open("rb") as file:
            if _sha256(file) != archive.sha256:
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


def _sha256(file: io.BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()
