"""What an operator has in the tests: a served store, another one with a new version, keys, and a registry."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from babelclip import Registry
from babelclip.versions.management import Management
from tests.clients.fake_server import vector_of
from tests.clients.management_server import TOWERS, ManagedServer

CANARIES = {"text": b"a red heart", "vision": b"a picture"}


class Killed(BaseException):
    """What a process knows of kill -9, which is nothing: no handler of the registry catches it."""


class Operated:
    """A server that serves `store`, of version 1.0; `new` is another store, of version 2.0."""

    def __init__(self, server: ManagedServer, folder: Path) -> None:
        self.server = server
        self._folder = folder
        self._turn = 0
        self.added = folder / "added"
        self.renew()
        with self.registry() as registry:
            registry.add(self.new)
        shutil.copytree(self.store, self.added)
        self.renew()

    def renew(self, *, added: bool = False) -> None:
        """Everything as at the beginning, or with the version 2.0 added, in other folders."""
        self._turn += 1
        folder = self._folder / str(self._turn)
        folder.mkdir()
        self.store, self.new, self.keys = folder / "store", folder / "new", folder / "key_file.json"
        make_store(self.new, "2.0")
        if added:
            shutil.copytree(self.added, self.store)
        else:
            make_store(self.store, "1.0")
        self.restart_server()

    def promote(self) -> None:
        """Everything as after 2.0 was added and promoted."""
        self.renew(added=True)
        with self.registry() as registry:
            registry.promote("2.0")
        self.server.calls.clear()

    def restart_server(self) -> None:
        """End the server and start it from the manifest, as scripts/serve does."""
        self.server.reset(self.store, self.keys)

    def registry(self, **options: Any) -> Registry:
        """A registry for this store and this server."""
        urls: dict[str, Any] = {"url": self.server.web.url, "grpc_url": self.server.rpc.url}
        return Registry(
            self.store, management=self.server.url, token_file=self.keys, timeout=30, **urls, **options
        )

    def options(self) -> list[str]:
        """The same for the command line."""
        urls = ["--url", self.server.web.url, "--grpc-url", self.server.rpc.url]
        keys = ["--token-file", str(self.keys)]
        return ["--store", str(self.store), "--management", self.server.url, *urls, *keys]

    def manifest(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.store / "manifest.json").read_text())
        return document

    def archives(self, version: str) -> list[str]:
        """The files of a version in the served store."""
        entry = next(one for one in self.manifest()["spaces"] if one["version"] == version)
        return [entry[tower]["mar"] for tower in TOWERS]

    def state(self) -> dict[str, Any]:
        """All that an operation may change: the manifest, the files, and what the server has."""
        return {
            "manifest": self.manifest(),
            "files": sorted(path.name for path in self.store.iterdir()),
            "served": {tower: sorted(self.server.models[tower]) for tower in TOWERS},
            "defaults": dict(self.server.defaults),
        }

    def killed(
        self, change: Callable[[Registry], object], *, moment: int, when: str, patch: pytest.MonkeyPatch
    ) -> bool:
        """Begin a change, killed "before" or "after" its nth call or written file; whether it was."""
        left = itertools.count(moment, -1)

        def interrupt(original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                last = next(left) == 0
                if last and when == "before":
                    raise Killed
                result = original(*arguments)
                if last:
                    raise Killed
                return result

            return call

        with patch.context() as patched:
            patched.setattr(Management, "_call", interrupt(Management._call))
            patched.setattr(os, "replace", interrupt(os.replace))
            with self.registry() as registry:
                try:
                    change(registry)
                except Killed:
                    return True
        return False

    def every_kill(
        self,
        change: Callable[[Registry], object],
        *,
        when: str,
        patch: pytest.MonkeyPatch,
        added: bool = False,
    ) -> Iterator[int]:
        """Begin the change again and again, everything as at the start, each time killed a moment later."""
        for moment in itertools.count():
            self.renew(added=added)
            if not self.killed(change, moment=moment, when=when, patch=patch):
                return
            yield moment


def make_store(folder: Path, version: str, *, name: str = "mini", space: str = "") -> Path:
    """A model store with one pair, as the export writes it."""
    folder.mkdir()
    space = space or f"space-of-{version}"
    entry: dict[str, Any] = {"name": name, "space": space, "version": version, "default": True}
    canary: dict[str, Any] = {"min_cosine": 0.99}
    for tower in TOWERS:
        archive = folder / f"{name}-{tower}.mar"
        with zipfile.ZipFile(archive, "w") as packed:
            # Without the time of day: the same store has the same digests.
            said = json.dumps({"model": {"modelVersion": version}})
            packed.writestr(zipfile.ZipInfo("MAR-INF/MANIFEST.json"), said)
            packed.writestr(zipfile.ZipInfo("meta.json"), json.dumps({"space": space, "tower": tower}))
        entry[tower] = {"mar": archive.name, "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}
        known = CANARIES[tower]
        canary[tower] = {
            "input": known.decode() if tower == "text" else base64.b64encode(known).decode(),
            "vector": base64.b64encode(vector_of(space.encode() + known).astype("<f4").tobytes()).decode(),
        }
    entry["canary"] = canary
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "spaces": [entry], "theirs": {"kept": 1}}))
    return folder
