"""model_store/manifest.json: what should be served, and how to tell that it is.

Each entry is one space: its pair of archives with their checksums, and the self-test of each tower, under the
key `canary`.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch

import export
import handlers
import models
from export.archive import sha256
from export.options import Options
from models.checkpoint import Checkpoint
from models.loaders.registry import space_of

FORMAT = 1


class ManifestError(Exception):
    """The manifest cannot take the entry, or is not one of this format."""


def read(path: Path) -> dict[str, Any]:
    """The manifest, or an empty one where there is none.

    Raises:
        ManifestError: the file is no manifest of this format.
    """
    if not path.exists():
        return {"format": FORMAT, "spaces": []}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ManifestError(f"{path} is no JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ManifestError(f"{path} is not of manifest format {FORMAT}")
    return manifest


def check_version(store: Path, name: str, version: str) -> None:
    """Raises ManifestError when another space of the store has this version: TorchServe keeps one of each."""
    for entry in read(store / "manifest.json")["spaces"]:
        if entry["version"] == version and entry["name"] != name:
            raise ManifestError(f"version {version} is taken by {entry['name']}; give another with --version")


def sources(source: Path, options: Options) -> str:
    """Fingerprint of all that an export is made from: the checkpoint, this code, its options, torch."""
    facts = [space_of(source, options.architecture), options.to_json(), torch.__version__]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for package in (handlers, models, export):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def is_current(store: Path, made_from: str) -> bool:
    """Whether the default entry was made from these sources and its archives are still what it says."""
    for entry in read(store / "manifest.json")["spaces"]:
        if entry["default"] and entry.get("sources") == made_from:
            pair = [entry[tower] for tower in ("text", "vision")]
            return all((store / e["mar"]).exists() and sha256(store / e["mar"]) == e["sha256"] for e in pair)
    return False


def put(store: Path, loaded: Checkpoint, *, version: str, self_tests: dict[str, Any], made_from: str) -> None:
    """Enter the pair of archives, as the default. Atomic.

    Entries of the same version, or whose archives were overwritten, are replaced. Others of this name stay:
    they are versions that `babelclip models add` brought in, with archives of their own.
    """
    path = store / "manifest.json"
    manifest = read(path)
    name = loaded.meta["name"]
    entry = {"name": name, "space": loaded.meta["space"], "version": version, "default": True}
    for tower in ("text", "vision"):
        mar = f"{name}-{tower}.mar"
        entry[tower] = {"mar": mar, "sha256": sha256(store / mar)}
    entry |= {"sources": made_from, "canary": self_tests}
    kept = [
        {**other, "default": False}
        for other in manifest["spaces"]
        if other["version"] != version and other["text"]["mar"] != entry["text"]["mar"]
    ]
    manifest["spaces"] = [*kept, entry]
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
