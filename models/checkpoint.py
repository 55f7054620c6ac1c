"""Checkpoints: a folder of text.safetensors, vision.safetensors, tokenizer.json and a readable meta.json.

meta.json holds the architecture, the logit scale, the languages, how the model was trained, and `space`: the
fingerprint of all that decides what a vector means. Nothing here unpickles anything.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from models import outputs
from models.dual_encoder import DualEncoder
from models.files.weights import CheckpointError as CheckpointError
from models.files.weights import load_strict, read_state, read_tokenizer
from models.modules import BabelCLIP, ModelConfig

FORMAT = 1
TOWERS = ("text", "vision")
PREPROCESSING = {"resize": "shortest side, bicubic, antialiased", "crop": "centre", "alpha": "over white"}


@dataclass(frozen=True)
class Checkpoint:
    """A model as it was loaded, from this project's files or from others'."""

    path: Path
    model: DualEncoder  # float32, eval mode
    tokenizer: Tokenizer
    """As texts are cut with it (`models.files.plain_text`); the folder's file is the one to keep."""
    meta: dict[str, Any]
    architecture: ModelConfig | None = None
    """Of this project's own models; None for public ones."""
    public_model: Any = None
    """The reference library's model that the towers are parts of; None where there is none."""
    write: "Callable[[Checkpoint, Path, dict[str, Any]], None] | None" = None
    """`write(loaded, folder, about)` saves the model, as it is now, in the form that it was loaded from.

    In place of what was at `folder`, whole or not at all. None: a model of this form is not written.
    """


def space_of(folder: Path, model: dict[str, Any]) -> str:
    """16 hex digits of SHA-256 over both towers' files, the tokenizer and the model and preprocessing config.

    safetensors orders tensors by dtype and name and writes no time stamps, so equal weights give equal files.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps({"model": model, "preprocessing": PREPROCESSING}, sort_keys=True).encode())
    for name in ("text.safetensors", "vision.safetensors", "tokenizer.json"):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def save(
    folder: Path,
    model: BabelCLIP,
    tokenizer: Tokenizer,
    *,
    languages: list[str],
    training: dict[str, Any],
    dtype: torch.dtype = torch.float16,
) -> str:
    """Write the checkpoint in place of what was at `folder`, whole or not at all; returns its space."""
    return _save(folder, model, model.architecture, tokenizer, languages, training, dtype)


def _save(
    folder: Path,
    model: DualEncoder,
    architecture: ModelConfig,
    tokenizer: Tokenizer,
    languages: list[str],
    training: dict[str, Any],
    dtype: torch.dtype,
) -> str:
    with outputs.replacing(folder) as partial:
        partial.mkdir(parents=True)
        for tower in TOWERS:
            state = model.tower(tower).state_dict()
            stored = {k: v.to(dtype).contiguous() if v.is_floating_point() else v for k, v in state.items()}
            save_file(stored, partial / f"{tower}.safetensors")
        tokenizer.save(str(partial / "tokenizer.json"), pretty=False)
        config = architecture.to_json()
        space = space_of(partial, json.loads(json.dumps(config)))
        meta = {
            "format": FORMAT,
            "name": architecture.name,
            "space": space,
            "dim": architecture.dim,
            "logit_scale": round(model.scale(), 4),
            "model": config,
            "preprocessing": PREPROCESSING,
            "languages": languages,
            "training": training,
        }
        outputs.write_json(partial / "meta.json", meta)
    return space


def save_trained(loaded: Checkpoint, folder: Path, about: dict[str, Any]) -> None:
    """Write a checkpoint that was trained further: `about` says how, the earlier training stays beside it."""
    assert loaded.architecture is not None
    training = {**about, "from": loaded.meta["space"], "before": loaded.meta.get("training", {})}
    tokenizer = Tokenizer.from_file(str(loaded.path / "tokenizer.json"))  # as it was published
    languages = loaded.meta["languages"]
    _save(folder, loaded.model, loaded.architecture, tokenizer, languages, training, torch.float16)


def read_meta(folder: Path) -> dict[str, Any]:
    """meta.json of a checkpoint.

    Raises:
        CheckpointError: the file is missing, is no JSON, or is of another format.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} is no checkpoint: it has no meta.json") from error
    except ValueError as error:
        raise CheckpointError(f"{folder}/meta.json is no JSON: {error}") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise CheckpointError(f"{folder}/meta.json is not of checkpoint format {FORMAT}")
    return meta


def load(folder: Path) -> Checkpoint:
    """The checkpoint, checked: keys and shapes strictly, and the space against the files.

    Raises:
        CheckpointError: names the file and what is wrong with it.
    """
    meta = read_meta(folder)
    architecture = ModelConfig.from_json(meta["model"])
    model = BabelCLIP(architecture)
    for tower in TOWERS:
        path = folder / f"{tower}.safetensors"
        load_strict(model.tower(tower), read_state(path), path)
    tokenizer = read_tokenizer(folder / "tokenizer.json", architecture.text.vocab_size)
    found = space_of(folder, meta["model"])
    if found != meta["space"]:
        raise CheckpointError(f"{folder}: its files are space {found}, but meta.json says {meta['space']}")
    model.set_scale(meta["logit_scale"])
    return Checkpoint(folder, model.eval(), tokenizer, meta, architecture, write=save_trained)
