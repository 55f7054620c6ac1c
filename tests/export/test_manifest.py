"""The manifest as the export writes it, beside what the registry has written."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from babelclip.model_store.manifest import Promotion, read_manifest
from export import manifest

SELF_TEST = {"input": "", "vector": "AACAPw=="}
SELF_TESTS = {"min_cosine": 0.99, "text": SELF_TEST, "vision": SELF_TEST}


def put(store: Path, name: str, version: str) -> None:
    """An export of a model of this name."""
    for tower in ("text", "vision"):
        (store / f"{name}-{tower}.mar").write_text(f"{name} {version}")
    loaded: Any = SimpleNamespace(meta={"name": name, "space": f"space-of-{version}"})
    manifest.put(store, loaded, version=version, self_tests=SELF_TESTS, made_from="sources")


def test_an_export_keeps_what_a_registry_wrote(tmp_path: Path) -> None:
    """Protects an unfinished promotion, and keys of a later format, from an export into the same store."""
    put(tmp_path, "mini", "1.0")
    path = tmp_path / "manifest.json"
    document = json.loads(path.read_text())
    document |= {"previous": "0.9", "promoting": {"from": "1.0", "to": "2.0"}, "theirs": [1]}
    path.write_text(json.dumps(document))
    put(tmp_path, "other", "2.0")
    found = read_manifest(tmp_path)
    assert (found.previous, found.promoting) == ("0.9", Promotion("1.0", "2.0", rollback=False))
    assert found.document["theirs"] == [1]
    assert [(entry.name, entry.default) for entry in found.entries] == [("mini", False), ("other", True)]


def test_an_export_replaces_only_what_it_overwrites(tmp_path: Path) -> None:
    """Protects versions of the same model that were added under other names of files."""
    put(tmp_path, "mini", "1.0")
    path = tmp_path / "manifest.json"
    document = json.loads(path.read_text())
    added = {**document["spaces"][0], "version": "2.0"}
    added |= {tower: {"mar": f"mini-2.0-{tower}.mar", "sha256": "0"} for tower in ("text", "vision")}
    document["spaces"].append(added)
    path.write_text(json.dumps(document))
    put(tmp_path, "mini", "3.0")
    assert [entry.version for entry in read_manifest(tmp_path).entries] == ["2.0", "3.0"]
    put(tmp_path, "mini", "2.0")
    assert [entry.version for entry in read_manifest(tmp_path).entries] == ["2.0"]
