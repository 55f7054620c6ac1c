"""model_store/manifest.json: what should be served, and how to tell that it is.

Each entry is one space: its pair of archives with their checksums, and a canary — an input for each tower
with the vector that the exported program gave. A server is ready when it answers the canaries with those
vectors.
"""

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import export
import handlers
from export.archive import sha256
from export.golden import encode, picture
from export.options import Options
from export.parity import text_arrays
from export.programs import Program
from handlers.preprocess.reference import decode_image
from models.checkpoint import Checkpoint
from models.loaders.registry import space_of

FORMAT = 1
CANARY_TEXT = "a red heart"
MIN_COSINE = 0.99  # loose enough for another dtype or device, far from another model's vectors


class ManifestError(Exception):
    """The manifest cannot take the entry, or is not one of this format."""


def canary_image() -> bytes:
    return encode(picture(7, 64, 64), "PNG")


def base64_of(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


@torch.inference_mode()
def canary(loaded: Checkpoint, tower: str, program: Program) -> dict[str, Any]:
    """The tower's canary: an input, and its vector by the exported program."""
    config = loaded.model.config
    if tower == "text":
        arrays = text_arrays(
            loaded.tokenizer,
            [CANARY_TEXT],
            length=None,
            max_tokens=config.text.max_tokens,
            pad_id=config.text.pad_id,
        )
        return {"input": CANARY_TEXT, "vector": base64_of(np.asarray(program(*arrays))[0])}
    image = canary_image()
    limits = {"max_pixels": 10_000, "max_bytes": 1_000_000}
    pixels = decode_image(image, size=config.vision.size, resize=config.vision.resize, **limits)
    vector = np.asarray(program(torch.from_numpy(pixels)[None]))[0]
    return {"input": base64.b64encode(image).decode(), "vector": base64_of(vector)}


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
    for package in (handlers, export):
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


def put(store: Path, loaded: Checkpoint, *, version: str, canaries: dict[str, Any], made_from: str) -> None:
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
    entry |= {"sources": made_from, "canary": canaries}
    kept = [
        {**other, "default": False}
        for other in manifest["spaces"]
        if other["version"] != version and other["text"]["mar"] != entry["text"]["mar"]
    ]
    manifest["spaces"] = [*kept, entry]
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
