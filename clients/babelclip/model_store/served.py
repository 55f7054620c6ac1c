"""The model store of a running server, as an operator changes it: one at a time, and never half.

Every change of the manifest is one atomic replacement of the file, so that whoever reads it meanwhile, a
server that starts or an operation that goes on after it was killed, finds the state before or the one after.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from babelclip.atomic_files import partial_path, replacing
from babelclip.errors import RegistryError
from babelclip.model_store.archives import Archive, check_archive
from babelclip.model_store.manifest import Deletion, Manifest, Promotion, read_manifest

LOCK = ".registry.lock"


class ServedStore:
    """A folder with a manifest and the archives it names. Changes need it `held`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def manifest(self) -> Manifest:
        """What the manifest says now.

        Raises:
            ManifestError: as `read_manifest`.
        """
        return read_manifest(self.folder)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps every other operator out; the kernel lets go when this process ends, in whatever way.

        Raises:
            RegistryError: another process holds it.
            ManifestError: the folder is no model store.
            OSError: the folder cannot be written.
        """
        import fcntl  # Not on Windows, where the rest of the package works.

        self.manifest()
        with (self.folder / LOCK).open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise RegistryError(
                    f"another operator is changing {self.folder}, with the process {lock.read(20).strip()};"
                    " wait until that is done"
                ) from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield

    def bring(self, source: Archive, mar: str) -> None:
        """Copies an archive into the store under the name `mar`, whole or not at all.

        Raises:
            ManifestError: what arrived is not what the digest says.
            OSError: it cannot be copied.
        """
        with replacing(self.folder / mar) as (partial,):
            shutil.copyfile(source.path, partial)
            check_archive(Archive(partial, source.sha256))

    def enter(self, entry: Mapping[str, Any]) -> None:
        """Adds an entry, in place of one of the same version."""

        def change(document: dict[str, Any]) -> None:
            _without(document, str(entry["version"]))
            document["spaces"].append(entry)

        self._rewrite(change)

    def set_proved(self, version: str) -> None:
        """Notes that the version's canaries have agreed: from now on a server is started with it."""
        self._rewrite(lambda document: _entry(document, version).pop("unproved", None))

    def begin(self, promotion: Promotion) -> None:
        """Notes a promotion before the server is asked for it."""
        noted: dict[str, Any] = {"from": promotion.source, "to": promotion.target}
        if promotion.rollback:
            noted["rollback"] = True
        self._rewrite(lambda document: document.update(promoting=noted))

    def settle(self, version: str) -> None:
        """Makes the version the default and ends the promotion; the default until now becomes `previous`."""
        former = self.manifest().default.version

        def change(document: dict[str, Any]) -> None:
            for entry in document["spaces"]:
                entry["default"] = entry["version"] == version
            _entry(document, version).pop("unproved", None)
            document.pop("promoting", None)
            if former != version:
                document["previous"] = former

        self._rewrite(change)

    def leave(self, version: str, archives: Collection[str] = ()) -> None:
        """Takes the version out; these archives of it are deleted by the next `sweep`."""

        def change(document: dict[str, Any]) -> None:
            _without(document, version)
            if document.get("previous") == version:
                del document["previous"]
            if archives:
                document["deleting"] = {"version": version, "archives": list(archives)}

        self._rewrite(change)

    def sweep(self) -> Deletion | None:
        """Deletes the archives that a version left behind, those of other entries excepted; says whose."""
        manifest = self.manifest()
        if manifest.deleting is None:
            return None
        needed = {tower.mar for entry in manifest.entries for tower in entry.towers.values()}
        for mar in set(manifest.deleting.archives) - needed:
            (self.folder / mar).unlink(missing_ok=True)
            partial_path(self.folder / mar).unlink(missing_ok=True)
        self._rewrite(lambda document: document.pop("deleting", None))
        return manifest.deleting

    def _rewrite(self, change: Callable[[dict[str, Any]], object]) -> None:
        # Read anew each time: an export may have written it since this operation began.
        manifest = self.manifest()
        document = copy.deepcopy(dict(manifest.document))
        change(document)
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        with replacing(manifest.path) as (partial,):
            partial.write_text(text, encoding="utf-8")


def _entry(document: dict[str, Any], version: str) -> dict[str, Any]:
    for entry in document["spaces"]:
        if entry["version"] == version:
            found: dict[str, Any] = entry
            return found
    raise RegistryError(f"version {version} has left the manifest meanwhile")


def _without(document: dict[str, Any], version: str) -> None:
    document["spaces"] = [entry for entry in document["spaces"] if entry["version"] != version]
