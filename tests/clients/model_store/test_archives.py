"""Model stores: manifests and archives that are not as they must be."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from babelclip import Client, TransportError
from babelclip.model_store.archives import Archive, read_pair, unpack


def entry(name: str, **changes: Any) -> dict[str, Any]:
    """What the export writes of one space."""
    towers = {tower: {"mar": f"{name}-{tower}.mar", "sha256": "0" * 64} for tower in ("text", "vision")}
    known = {"input": "", "vector": "AACAPw=="}
    canary = {"min_cosine": 0.99, "text": known, "vision": known}
    found = {"name": name, "space": "s", "version": "1.0", "default": False, "canary": canary}
    return {**found, **towers, **changes}


def write(store: Path, *entries: dict[str, Any], format: int = 1) -> Path:
    (store / "manifest.json").write_text(json.dumps({"format": format, "spaces": entries}))
    return store


def packed(path: Path, *names: str) -> Archive:
    """An archive with a file of each name."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return Archive(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_the_default_entry_is_read_unless_another_is_named(tmp_path: Path) -> None:
    """A store of several spaces gives the one that is served, and any other by its name."""
    write(tmp_path, entry("old"), entry("new", default=True, version="2.0"))
    assert (read_pair(tmp_path, None).name, read_pair(tmp_path, None).version) == ("new", "2.0")
    assert read_pair(tmp_path, "old").archives["vision"].path == tmp_path / "old-vision.mar"
    Client(f"mar:{tmp_path}").close()
    Client(f"mar:{tmp_path}#old").close()
    with pytest.raises(ValueError, match="has no 'none'; it has new, old"):
        Client(f"mar:{tmp_path}#none")


def test_of_several_versions_of_a_name_the_default_is_read(tmp_path: Path) -> None:
    """A store in which a model has been rolled forward and back gives the version that is served."""
    write(tmp_path, entry("m"), entry("m", version="2.0", default=True), entry("m", version="3.0"))
    assert read_pair(tmp_path, "m").version == "2.0"
    write(tmp_path, entry("m"), entry("m", version="2.0"), entry("other", version="3.0", default=True))
    assert read_pair(tmp_path, "m").version == "2.0"


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("no JSON", "is no manifest"),
        ("[]", "is no manifest"),
        ('{"format": 2, "spaces": []}', "its format is 2, not 1"),
        ('{"format": 1, "spaces": []}', "names no default; it has nothing"),
        ('{"format": 1, "spaces": [{"name": "x"}]}', "is no manifest"),
    ],
)
def test_a_manifest_that_is_none_is_refused_at_once(tmp_path: Path, manifest: str, words: str) -> None:
    """A wrong folder or file is a sentence when the client is made, not a failed call later."""
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(ValueError, match=words):
        Client(f"mar:{tmp_path}")


def test_an_archive_is_unpacked_whole(tmp_path: Path) -> None:
    """Every file of an archive arrives, in its folders."""
    unpack(packed(tmp_path / "a.mar", "meta.json", "handlers/base.py"), tmp_path / "out")
    assert (tmp_path / "out" / "handlers" / "base.py").read_text() == "content"
    assert (tmp_path / "out" / "meta.json").exists()


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "handlers/../../escaped"])
def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path, name: str) -> None:
    """A path that leads out of the folder is refused before anything is unpacked."""
    archive = packed(tmp_path / "a.mar", "meta.json", name)
    with pytest.raises(TransportError, match="leads out of its folder"):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mar"]


def test_another_archive_than_the_manifests_is_not_unpacked(tmp_path: Path) -> None:
    """A damaged, exchanged or missing archive is a sentence that names it."""
    archive = packed(tmp_path / "a.mar", "meta.json")
    with pytest.raises(TransportError, match=r"a\.mar .*SHA-256 differs"):
        unpack(Archive(archive.path, "0" * 64), tmp_path / "out")
    archive.path.write_bytes(b"no zip")
    digest = hashlib.sha256(b"no zip").hexdigest()
    with pytest.raises(TransportError, match=r"a\.mar cannot be unpacked"):
        unpack(Archive(archive.path, digest), tmp_path / "out")
    archive.path.unlink()
    with pytest.raises(TransportError, match=r"a\.mar cannot be unpacked: .*No such file"):
        unpack(archive, tmp_path / "out")
